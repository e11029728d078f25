"""Random generators of this process (Python's, numpy's and torch's), and seeds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds the generators that timm and torchvision draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(cards: bool = True) -> dict[str, Any]:
    """Returns every generator's state in values that `torch.load` reads without code.

    Args:
        cards: Whether the state of the card at work is among them.
    """
    legacy: Any = np.random.get_state()
    name, keys, *rest = legacy
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if cards and torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts the generators back into a state; that of a card only where there is one."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])


def derive_seed(seed: int, purpose: str) -> int:
    """Returns a seed for one purpose, such as `calibration`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:6], "big")
