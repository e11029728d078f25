"""Per-sample gradients of the embedded models against `vmap(grad)`."""

from __future__ import annotations

import functools
import warnings

import plain
import pytest
import torch
import torch.nn.functional as F
from measuring import IMAGES, Measure, setting
from torch import nn

import cap

BATCH = 128


def ours(model: nn.Module, layers: dict[str, nn.Parameter], images: torch.Tensor, labels: torch.Tensor) -> None:
    """Writes each batch's gradients where those of the last one were, as the Fisher's estimate does."""
    room = {name: torch.empty(BATCH, weight.numel()) for name, weight in layers.items()}
    for batch in cap.Calibration(images, labels, batch_size=BATCH).gradient_batches(model, layers):
        for name, rows in room.items():
            batch.write(name, 0, rows.shape[1], rows[: batch.count])


def mean_only(model: nn.Module, layers: dict[str, nn.Parameter], images: torch.Tensor, labels: torch.Tensor) -> None:
    """One gradient a batch: what a forward and a backward pass cost by themselves."""
    for part, its_labels in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        torch.autograd.grad(F.cross_entropy(model(part), its_labels), list(layers.values()))


METHODS = {
    "vmap(grad)": functools.partial(plain.vmap_gradients, chunk=IMAGES),
    "vmap(grad), 256 at a time": functools.partial(plain.vmap_gradients, chunk=256),
    "vmap(grad), 16 at a time": functools.partial(plain.vmap_gradients, chunk=16),
    "hooks": ours,
    "no per-sample gradients: one of each batch's mean": mean_only,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_gradients(measure: Measure, name: str, method: str) -> None:
    arguments = setting(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vmap's batching rules that are missing
        METHODS[method](*arguments[:2], *(tensor[:16] for tensor in arguments[2:])) if method == "hooks" else None
        group = f"gradients of {IMAGES:,} images, embedded {name}"
        measure(group, method, lambda: METHODS[method](*arguments))
