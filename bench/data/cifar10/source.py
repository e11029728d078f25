"""Source of CIFAR-10: the folder that the environment names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from bench.core.errors import UserError
from bench.data.cifar10.layouts import PARTS, find_files, read_part
from bench.data.fashion_mnist import Split

DATASET, FOLDER_VARIABLE = "cifar-10", "CAPBENCH_CIFAR10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WAYS = (
    f"set {FOLDER_VARIABLE} to a folder with cifar-10-batches-py, cifar-10-batches-bin, the hub's train*.parquet and "
    "test*.parquet, or one .npz; `python -c \"import torchvision; torchvision.datasets.CIFAR10('FOLDER', "
    'download=True)"` makes the first (docs/resnet20.md)'
)
SPLITS = ("train", "validation", "test")
FULL = {"train": 50_000, "test": 10_000}  # images of the published parts
HELD_OUT = 5  # every so many-th training image is for validation


@dataclass(frozen=True, eq=False)  # one object stands for one copy of the data
class Cifar10:
    """Images of a user's copy, to be read only: readers share them.

    Attributes:
        splits: {split: images}: `train` to calibrate and train on, `validation` to choose by, `test`.
        checksum: SHA-256 of all pixels and labels, the same for the same images in any layout.
        layout: Name of the layout.
    """

    splits: Mapping[str, Split]
    checksum: str
    layout: str

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        part = "" if len(self.splits["test"]) == FULL["test"] else ", a part of CIFAR-10"
        return f"{DATASET}{part}: {counts} images; {self.layout}; SHA-256 {self.checksum[:16]}"


def load_images() -> Cifar10:
    """Reads the images from where the environment says, once in each process; all callers share them.

    Raises:
        UserError: If there are none, or a file is damaged.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise UserError(f"no {DATASET}: {FOLDER_VARIABLE} is not set; {WAYS}")
    return _read(Path(folder).absolute())


@cache
def _read(folder: Path) -> Cifar10:
    if not folder.is_dir():
        raise UserError(f"no {DATASET}: {FOLDER_VARIABLE} is {folder}, which is no folder; {WAYS}")
    found = find_files(folder)
    if found is None:
        raise UserError(f"no {DATASET}: {folder} has it in no layout that is known; {WAYS}")
    layout, files = found
    if missing := [part for part in PARTS if not files[part]]:
        raise UserError(f"no {DATASET}: {folder} has {layout.name}, but none to {missing[0]}; {WAYS}")
    digest, parts = hashlib.sha256(), {}
    for part in PARTS:
        images, labels = read_part(layout, files[part], part)
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        digest.update(pixels.data)
        digest.update(labels.tobytes())
        parts[part] = Split(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)))
    whole, test = parts.values()
    held = torch.arange(len(whole)) % HELD_OUT == HELD_OUT - 1
    splits = {
        "train": Split(whole.images[~held], whole.labels[~held]),
        "validation": Split(whole.images[held], whole.labels[held]),
        "test": test,
    }
    return Cifar10(MappingProxyType(splits), digest.hexdigest(), layout.name)


class _SplitSizes(Mapping[str, int]):
    """Number of images of each split: of the user's copy where the environment names one, else of all of CIFAR-10."""

    def __getitem__(self, split: str) -> int:
        if split not in SPLITS:
            raise KeyError(split)
        if os.environ.get(FOLDER_VARIABLE):
            return len(load_images().splits[split])
        held = FULL["train"] // HELD_OUT
        return {"train": FULL["train"] - held, "validation": held, "test": FULL["test"]}[split]

    def __iter__(self) -> Iterator[str]:
        return iter(SPLITS)

    def __len__(self) -> int:
        return len(SPLITS)


def split_sizes() -> Mapping[str, int]:
    """Returns the number of images of each split, read when it is asked for."""
    return _SplitSizes()
