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


def random_state() -> dict[str, Any]:
    """Returns the state of every generator, in values that `torch.load` reads back without running code."""
    legacy: Any = np.random.get_state()
    name, keys, *rest = legacy
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts the generators back into a state; one of a machine with more cards, those of the cards that are here."""
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])


def derive_seed(seed: int, purpose: str) -> int:
    """Returns a seed for one purpose, such as `calibration`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:6], "big")
