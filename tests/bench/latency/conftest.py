from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from bench.results.timings import Cell


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves torch's number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cell() -> Callable[..., Cell]:
    """Makes cells that are measured in no time."""
    usual = {"profile": "embedded", "model": "vit", "batch": 2, "threads": 1, "engines": ("eager",), "sparsities": ()}
    return lambda **values: Cell(**{**usual, "seconds": 0.01, **values})
