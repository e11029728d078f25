"""Seeds of single images and batches, so that it does not matter which process draws for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def temporarily_seeded(seed: int) -> Iterator[None]:
    """Lets timm and torchvision draw from this seed, on the CPU, and leaves the generators as they were."""
    python, legacy, generator = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed a GPU's generator, too
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(generator)


def combined_seed(*parts: int) -> int:
    """Returns one seed for several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
