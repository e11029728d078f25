"""Embedded data set, Fashion-MNIST, in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.assets import DATA_FILES, VALIDATION_FILE, verified
from bench.core.errors import UserError

DATASET = "fashion-mnist"
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SPLIT_FILES = dict(zip(("train", "test", "validation"), (*DATA_FILES, VALIDATION_FILE), strict=True))
MEAN, STD = 0.2860, 0.3530  # of the 60,000 original training images, pixels scaled to [0, 1]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one split, in memory, to be read only: readers share the tensors. Equal is only the same.

    Attributes:
        images: Pixels (n, channels, height, width), uint8.
        labels: Classes (n,), int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, count: int, seed: int) -> Split:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return Split(self.images[chosen], self.labels[chosen])

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images, labels) of the whole split or of the indices `order`; the last batch may be smaller."""
        images, labels = (self.images, self.labels) if order is None else (self.images[order], self.labels[order])
        if len(labels):  # of nothing, split makes an empty batch
            yield from zip(images.split(batch_size), labels.split(batch_size), strict=True)


def split_file(split: str) -> str:
    """Returns where a split's parquet file is, below the embedded assets.

    Raises:
        UserError: If there is no such split.
    """
    if split not in SPLIT_FILES:
        raise UserError(f"{DATASET} has no split {split!r}: choose from {', '.join(SPLIT_FILES)}")
    return SPLIT_FILES[split]


@cache
def load_split(split: str) -> Split:
    """Reads a split, one of `SPLIT_FILES`, of the embedded Fashion-MNIST; all callers share it.

    Raises:
        UserError: If there is no such split, or its file is missing or damaged.
    """
    from datasets import Dataset, Image, disable_progress_bars

    disable_progress_bars()
    path = verified(split_file(split))
    rows = Dataset.from_parquet(str(path), keep_in_memory=True).cast_column("image", Image(decode=False))
    encoded = (image["bytes"] for image in rows["image"])
    images = np.stack([np.asarray(PIL.Image.open(io.BytesIO(content))) for content in encoded])  # (n, 28, 28)
    return Split(torch.from_numpy(images)[:, None], torch.tensor(rows["label"][:]))


def to_input(images: Tensor, size: int) -> Tensor:
    """Turns images, uint8 or float in [0, 1], into a model's input: zero-padded to `size` x `size`, normalised."""
    scaled = images if images.is_floating_point() else images.float() / 255
    before, after = (size - images.shape[-1]) // 2, (size - images.shape[-1] + 1) // 2
    scaled = F.pad(scaled, (before, after, before, after))
    return (scaled - MEAN) / STD


@dataclass(frozen=True)
class PaddedInputs:
    """Inputs from a split in memory: see `bench.data.inputs.Inputs` and `to_input`.

    Attributes:
        split: Images and labels.
        size: Side of the input, pixels.
    """

    split: Split
    size: int

    def __len__(self) -> int:
        return len(self.split)

    def subset(self, count: int, seed: int) -> PaddedInputs:
        """Returns `count` images drawn without replacement (all of them if there are no more)."""
        return PaddedInputs(self.split.subset(count, seed), self.size)

    def batches(
        self, batch_size: int, order: Tensor | None = None, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised inputs and labels: see `bench.data.inputs.Inputs`."""
        for images, labels in self.split.batches(batch_size, order):
            yield to_input(images.to(device), self.size), labels.to(device)


def check_files() -> None:
    """Makes sure that all splits are there and whole.

    Raises:
        UserError: If a file is missing or damaged.
    """
    for name in SPLIT_FILES.values():
        verified(name)
