"""Training with masks held, in every precision and after a stop, on the CPU and on a card."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cap
from cap.testing import tiny_calibration


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, 5))


def training_on(device: str, **options: Any) -> cap.Training:
    """Returns a training with masks, on batches that move to the device."""
    data = tiny_calibration()

    def batches(epoch: int, done: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(48, generator=torch.Generator().manual_seed(epoch))
        for part in order.split(16)[done:]:
            yield data.images[part].to(device), data.labels[part].to(device)

    model = network().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.03)
    training = cap.Training(model, optimizer, batches, lambda _: 1e-2, 0.1, 1.0, **options)
    training.set_masks({"1.weight": torch.rand(32, 64, generator=torch.Generator().manual_seed(1)) < 0.5})
    return training


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precisions(precision: Any, device: str) -> None:
    training = training_on(device, precision=precision)
    training.run_epoch(0)
    first = training.last_loss()
    for epoch in range(1, 5):
        training.run_epoch(epoch)
    assert training.last_loss() < first
    masks = training.masks
    assert masks is not None
    for name, mask in masks.state_dict().items():
        weight = training.model.get_parameter(name)
        assert weight.dtype == torch.float32
        assert not weight.detach()[~mask].any()


def goes_on(device: str, precision: Any = "float32") -> None:
    """A training that is stopped, kept in a file and read onto the CPU ends as one that was not."""
    teacher = network().to(device)
    options = {"ema": 0.9, "distillation": cap.Distillation(teacher, 0.5, 2.0), "precision": precision}
    through = training_on(device, **options)
    through.run_epoch(0)
    file = io.BytesIO()
    state = {"model": through.model.state_dict(), "training": through.state_dict()}
    torch.save(_on_the_cpu(state), file)
    through.run_epoch(1)
    file.seek(0)
    saved = torch.load(file, weights_only=True, map_location="cpu")
    resumed = training_on(device, **options)
    resumed.model.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["training"])
    resumed.run_epoch(1)
    for one, other in zip(through.averaged().parameters(), resumed.averaged().parameters(), strict=True):
        torch.testing.assert_close(other.cpu(), one.cpu(), rtol=1e-5, atol=1e-6)


def _on_the_cpu(state: Any) -> Any:
    """Returns a state with its tensors on the CPU, where `torch.load` puts those of a checkpoint."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: _on_the_cpu(value) for key, value in state.items()}
    return [_on_the_cpu(value) for value in state] if isinstance(state, list) else copy.copy(state)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_stopped_training_goes_on(precision: Any, device: str) -> None:
    goes_on(device, precision)


def test_a_stopped_training_goes_on_where_a_file_is_read_onto_another_device(card: str) -> None:
    goes_on(card)
