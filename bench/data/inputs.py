"""Inputs of a model: the interface of every data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Inputs(Protocol):
    """Images of a split as one model takes them, and their labels."""

    def __len__(self) -> int: ...

    def subset(self, count: int, seed: int) -> Inputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        ...

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the whole split, or the indices `order`, batch by batch; the last one may be smaller.

        Args:
            batch_size: Images in a batch, n.
            order: Indices of the images, in the order wanted; None for all.
            device: Torch device of the batches.

        Yields:
            Inputs (n, channels, size, size), normalised, and labels (n,), int64.
        """
        ...


class StreamedImages(Protocol):
    """Images of a split that are made when they are wanted, and never held all."""

    @property
    def labels(self) -> Tensor:
        """Labels (n,), int64."""
        ...

    def load(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yields the inputs (n, channels, size, size) of each of some batches of indices, (n,) each."""
        ...


def stack_batches(inputs: Inputs, batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """Returns all inputs (n, channels, size, size), float32, and labels (n,), on the CPU."""
    images, labels = torch.empty(0), torch.empty(len(inputs), dtype=torch.int64)
    start = 0
    for batch, batch_labels in inputs.batches(batch_size):
        if not start:
            images = batch.new_empty(len(inputs), *batch.shape[1:])
        stop = start + len(batch)
        images[start:stop], labels[start:stop] = batch, batch_labels
        start = stop
    return images, labels


@dataclass(frozen=True)
class TensorInputs:
    """Inputs that are held in memory: see `Inputs`.

    Attributes:
        images: Inputs (n, channels, size, size), normalised.
        labels: Labels (n,), int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, count: int, seed: int) -> TensorInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return TensorInputs(self.images[drawn], self.labels[drawn])

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields inputs and labels: see `Inputs`."""
        for chosen in (torch.arange(len(self)) if order is None else order).split(batch_size):
            yield self.images[chosen].to(device), self.labels[chosen].to(device)
