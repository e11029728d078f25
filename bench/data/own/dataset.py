"""A user's own images in four splits that have no image in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from bench.core.errors import UserError
from bench.data.imagenet.decoding import decode_image
from bench.data.imagenet.source import StoredSplit
from bench.data.own.image import WHOLE, StoredImage
from bench.data.own.sources import find_source

# what a pruner may see; what training uses; where choices are made; what each row is evaluated on
SPLITS = ("calibration", "tuning", "validation", "test")
SHARES = {"calibration": 4, "tuning": 2, "validation": 1, "test": 3}  # of images that the source does not split
MOST = {"calibration": 4096}  # images: the rest goes to the tuning
THREADS = 4  # that decode images in a check


@dataclass(frozen=True)
class StoredRows:
    """Images of a split, by their index.

    Attributes:
        images: The images.
    """

    images: Sequence[StoredImage]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.images[index].row()


@dataclass(frozen=True, eq=False)  # one object stands for one version of the data
class OwnData:
    """Labelled images in four splits, to be read only: readers share them.

    Attributes:
        text: Text that they were found by.
        classes: Names of the classes, by their numbers.
        splits: {split: images}; tuning and validation may be empty.
        checksum: Digest of all images, labels and splits.
    """

    text: str
    classes: tuple[str, ...]
    splits: Mapping[str, StoredSplit]
    checksum: str

    def counts(self) -> dict[str, int]:
        """Returns the number of images of each split."""
        return {name: len(split.labels) for name, split in self.splits.items()}

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count:,}" for name, count in self.counts().items())
        return f"{self.text}: {len(self.classes)} classes; images for {counts}"


def open_data(text: str) -> OwnData:
    """Opens a user's images, once in each process and version of a function's file; every image is then read once.

    Args:
        text: Place of the images, see `bench.data.own.sources.find_source`.

    Raises:
        UserError: If there are none, or of one class alone, or two splits have an image in common.
    """
    file = Path(text.rpartition(":")[0])
    version = file.read_bytes() if file.suffix == ".py" and file.is_file() else None
    return _open_data(text, version, Path.cwd())


@cache
def _open_data(text: str, version: bytes | None, folder: Path) -> OwnData:
    """Returns the images of a text, for a version of a function's file and the folder that paths begin at."""
    source = find_source(text)
    parts = source.parts()
    classes, number_of = _classes(text, source.class_names(), [one.label for some in parts.values() for one in some])
    digests = {id(one): hashlib.sha256(one.content()).hexdigest() for some in parts.values() for one in some}
    splits = split_parts(text, parts, digests)
    _check_disjoint(splits, digests)
    content = {name: [(digests[id(one)], number_of[one.label]) for one in some] for name, some in splits.items()}
    return OwnData(
        text,
        classes,
        MappingProxyType(
            {
                name: StoredSplit(StoredRows(tuple(some)), torch.tensor([number_of[one.label] for one in some]).long())
                for name, some in splits.items()
            }
        ),
        hashlib.sha256(json.dumps([classes, content]).encode()).hexdigest(),
    )


def _classes(
    text: str, names: Sequence[str] | None, labels: Sequence[str | int]
) -> tuple[tuple[str, ...], Mapping[str | int, int]]:
    """Returns the names of the classes, and {label: number of its class}."""
    found = set(labels)
    if len({type(label) for label in found}) > 1:
        raise UserError(f"{text} has labels that are numbers and labels that are names: give one kind")
    if any(isinstance(label, str) for label in found):
        ordered = tuple(names or sorted(map(str, found)))
        numbers: dict[str | int, int] = {name: number for number, name in enumerate(ordered)}
    else:
        count = len(names) if names is not None else max(map(int, found), default=-1) + 1
        ordered = tuple(names or map(str, range(count)))
        numbers = {number: number for number in range(count)}
    if stray := sorted(found - set(numbers), key=str):
        raise UserError(f"{text} has an image of class {stray[0]!r}: its classes are 0 to {len(ordered) - 1}")
    if len(found) < 2:
        known = f"one class alone, {ordered[numbers[found.pop()]]}" if found else "no image"
        raise UserError(f"{text} has {known}: a classifier needs images of two classes or more")
    return ordered, numbers


def split_parts(
    text: str, parts: Mapping[str, Sequence[StoredImage]], digests: Mapping[int, str]
) -> dict[str, Sequence[StoredImage]]:
    """Returns the four splits of a source's parts.

    Parts named as splits are these. Of `train`, or of a source without parts, the splits that have no part are cut, by
    the checksums of the images: the same for the same images, and images that are the same stay together.

    Args:
        text: Text of the source, for messages.
        parts: Images of each part.
        digests: {id of an image: checksum of its content}.

    Raises:
        UserError: If there is nothing to calibrate or to test on.
    """
    given: dict[str, Sequence[StoredImage]] = {name: some for name, some in parts.items() if name in SPLITS}
    whole = parts.get(WHOLE) or parts.get("train") or ()
    if "train" in parts and "validation" in given and "test" not in given:  # the usual name of what is held out
        given["test"] = given.pop("validation")
    if whole and "calibration" in given:
        raise UserError(f"{text} has parts calibration and train: name calibration, tuning, validation and test")
    if not whole and not {"calibration", "test"} <= given.keys():
        missing = next(name for name in ("calibration", "test") if name not in given)
        raise UserError(f"{text} has parts {', '.join(parts)}, but no {missing}: name calibration, tuning, validation "
                        "and test, or train and test, or none")  # fmt: skip
    wanted = [name for name in SPLITS if name not in given] if whole else []
    distinct = sorted({digests[id(one)] for one in whole})
    if whole and len(distinct) < len(wanted):
        raise UserError(f"{text} has {len(distinct)} different images to make {', '.join(wanted)} of: it needs more")
    split_of = dict(zip(distinct, _cut(len(distinct), wanted), strict=True))
    cut = {name: [one for one in whole if split_of[digests[id(one)]] == name] for name in wanted}
    found = {name: cut.get(name, given.get(name, ())) for name in SPLITS}
    if empty := [name for name in ("calibration", "test") if not found[name]]:
        raise UserError(f"{text} has no image for {empty[0]}")
    return found


def _cut(count: int, wanted: Sequence[str]) -> list[str]:
    """Returns the split of each of so many images, by their shares; every split gets one, tuning what is left."""
    total = sum(SHARES[name] for name in wanted)
    sizes = {name: max(1, min(count * SHARES[name] // total, MOST.get(name, count))) for name in wanted}
    filler = "tuning" if "tuning" in wanted else wanted[0] if wanted else ""
    if wanted:
        sizes[filler] += count - sum(sizes.values())
        while sizes[filler] < 1:  # of few images the largest split gives one
            largest = max(sizes, key=sizes.__getitem__)
            sizes[largest], sizes[filler] = sizes[largest] - 1, sizes[filler] + 1
    return [name for name in wanted for _ in range(sizes[name])]


def _check_disjoint(splits: Mapping[str, Sequence[StoredImage]], digests: Mapping[int, str]) -> None:
    """Refuses splits that have an image in common, whichever its file.

    Raises:
        UserError: If two have, with the image.
    """
    seen: dict[str, tuple[str, StoredImage]] = {}
    for name, images in splits.items():
        for one in images:
            other, first = seen.setdefault(digests[id(one)], (name, one))
            if other != name:
                raise UserError(f"{first.path} ({other}) and {one.path} ({name}) are the same image: splits must not "
                                "overlap")  # fmt: skip


def check_images(text: str) -> None:
    """Decodes every image, once in each process.

    Raises:
        UserError: If one cannot be decoded.
    """
    if (mistake := _first_mistake(open_data(text))) is not None:
        raise UserError(f"{text}: {mistake}")


@cache
def _first_mistake(data: OwnData) -> str | None:
    images = [one for split in data.splits.values() for one in split.rows.images]
    with ThreadPoolExecutor(THREADS) as pool:
        return next(filter(None, pool.map(_mistake, images)), None)


def _mistake(image: StoredImage) -> str | None:
    try:
        decode_image(image.row()["image"])
    except OSError as error:
        return f"{image.path} cannot be decoded: {error}"
    return None
