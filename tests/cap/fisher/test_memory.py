"""The memory that a plan announces bounds what a fit allocates, and is not far above it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cap


class AllocatedBytes(TorchDispatchMode):
    """The bytes of all tensors that operations return, as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.alive.setdefault(storage.data_ptr(), (StorageWeakRef(storage), storage.nbytes()))
        self.alive = {at: (ref, size) for at, (ref, size) in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


def allocated(pruner: cap.Pruner, *fit: object) -> int:
    with AllocatedBytes() as counter:
        pruner.fit(*fit)  # type: ignore[arg-type]
    return counter.peak


@pytest.fixture
def small() -> tuple[nn.Module, dict[str, nn.Parameter], cap.Calibration]:
    """A model of two layers of 6,144 weights, and 128 images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
    calibration = cap.Calibration(torch.randn(128, 64), torch.randint(0, 10, (128,)), batch_size=32)
    return model, cap.select_layers(model, [r"[02].weight"]), calibration


@pytest.mark.parametrize("name", ["cap", "woodfisher"])
def test_plan_bounds_what_a_small_model_takes(name: str, small) -> None:  # type: ignore[no-untyped-def]
    pruner = cap.create(name, block_size=64)
    announced = pruner.plan(*small).peak_bytes
    peak = allocated(pruner, *small)
    assert peak <= announced <= 3 * peak


def test_mfac_takes_no_more_than_it_needs(small) -> None:  # type: ignore[no-untyped-def]
    pruner = cap.create("mfac", block_size=512)
    needed = pruner.needed_bytes(*small)
    peak = allocated(pruner, *small)
    assert peak <= needed <= 3 * peak


@pytest.mark.parametrize("name", ["cap", "woodfisher", "obert"])
def test_pruning_without_kept_factors_stays_within_the_budget(name: str) -> None:
    """The second round over the gradients, which makes the results at all patterns, is counted as the first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10))
    calibration = cap.Calibration(torch.randn(64, 128), torch.randint(0, 10, (64,)), batch_size=16)
    layers = cap.select_layers(model, [r"[02].weight"])
    pruner = cap.create(name, block_size=64)
    low, high = 0, pruner.plan(model, layers, calibration).peak_bytes
    while high - low > 1024:  # the least that it can do with
        calibration.memory_budget = (low + high) // 2
        try:
            pruner.plan(model, layers, calibration)
            high = calibration.memory_budget
        except ValueError:
            low = calibration.memory_budget
    calibration.memory_budget = high
    patterns = [cap.Unstructured(sparsity) for sparsity in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)]
    with AllocatedBytes() as counter:
        pruner.fit(model, layers, calibration)
        pruner.expect(patterns)
        pruned = [pruner.prune(pattern) for pattern in patterns]
    assert pruner.rebuilds_factors
    assert counter.peak <= high
    assert [round(one.sparsity, 3) for one in pruned] == [pattern.sparsity for pattern in patterns]
