"""Images of CIFAR-10 as inputs, and as augmented training batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from bench.data.fashion_mnist import Split
from bench.data.imagenet.source import StoredSplit

MEAN = STD = 0.5  # of each channel, pixels in [0, 1]
CONFIG: dict[str, Any] = {
    "input_size": (3, 32, 32),
    "interpolation": "bilinear",
    "mean": (MEAN,) * 3,
    "std": (STD,) * 3,
}


@dataclass(frozen=True)
class ScaledInputs:
    """Inputs in [-1, 1] from a split in memory: see `bench.data.inputs.Inputs`.

    Attributes:
        split: Images and labels.
    """

    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def subset(self, count: int, seed: int) -> ScaledInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        return ScaledInputs(self.split.subset(count, seed))

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised inputs and labels: see `bench.data.inputs.Inputs`."""
        for images, labels in self.split.batches(batch_size, order):
            yield (images.to(device).float() / 255 - MEAN) / STD, labels.to(device)


@dataclass(frozen=True)
class _PictureRows:
    """Images of a split by their index, as the decoding of stored images reads them.

    Attributes:
        images: Pixels, (n, 3, 32, 32), uint8.
    """

    images: Tensor

    def __getitem__(self, index: int) -> dict[str, PIL.Image.Image]:
        return {"image": PIL.Image.fromarray(self.images[index].permute(1, 2, 0).numpy())}


def stored(split: Split) -> StoredSplit:
    """Returns a split in the form that training streams read."""
    return StoredSplit(_PictureRows(split.images), split.labels)
