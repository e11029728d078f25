"""ImageNet-1k as it is stored: in parquet files, in an image folder, or on the hub; nothing is decoded here."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

logger = logging.getLogger(__name__)

DATASET, NUM_CLASSES = "imagenet-1k", 1000
HUB = "ILSVRC/imagenet-1k"
VARIABLE = "CAPBENCH_IMAGENET"
SPLITS = {"train": ("train", 1_281_167), "test": ("validation", 50_000)}  # the hub's name, images
FOLDERS = {"train": "train", "test": "val"}  # the original archives' names
JPEG = (".jpeg", ".jpg")
WAYS = (
    f"set {VARIABLE} to a folder with the hub's parquet files (train-*.parquet and validation-*.parquet, or these in "
    "data/) or with the original images (train/<wnid>/*.JPEG and val/<wnid>/*.JPEG), or accept the terms at "
    f"https://huggingface.co/datasets/{HUB} and log in with `hf auth login` or HF_TOKEN; see docs/imagenet.md"
)


@dataclass(frozen=True)
class Photos:
    """A split as it is stored.

    Attributes:
        rows: A data set of the `datasets` library; its column `image` holds encoded bytes, or a path.
        labels: (n,), int64.
    """

    rows: Any
    labels: Tensor


def load_photos(split: str) -> Photos:
    """Opens a split, `train` or `test` (ImageNet's validation images), from where the environment says.

    Raises:
        UserError: If the data are missing or not laid out as they should be, with the ways to provide them.
    """
    return _load_photos(split, os.environ.get(VARIABLE))


def check_photos() -> None:
    """Makes sure that both splits are there, or that the hub would give them; reads and fetches no image.

    Raises:
        UserError: If not, with what is missing and the ways to provide it.
    """
    folder = os.environ.get(VARIABLE)
    if folder is None:
        if not _fetched_before():
            _check_hub()
        return
    for split in SPLITS:
        if not _parquet_files(Path(folder), split):
            _class_folders(Path(folder), split)


@cache
def _load_photos(split: str, folder: str | None) -> Photos:
    from datasets import Image, disable_progress_bars, load_dataset

    disable_progress_bars()
    name, count = SPLITS[split]
    if folder is None:
        try:
            rows = load_dataset(HUB, split=name)
        except Exception as error:  # noqa: BLE001  of many kinds: no network, no token, no access, a full disk
            raise _missing(f"{VARIABLE} is not set, and the hub gave nothing ({_first_line(error)})") from None
    elif files := _parquet_files(Path(folder), split):
        rows = load_dataset("parquet", data_files={name: [str(file) for file in files]}, split=name)
        if absent := {"image", "label"} - set(rows.column_names):
            raise UserError(
                f"{files[0]} has no column {min(absent)}: it needs image and label, as the hub's files have"
            )
    else:
        rows = _in_folders(_class_folders(Path(folder), split))
    rows = rows.cast_column("image", Image(decode=False))
    labels = torch.from_numpy(rows.data.column("label").to_numpy().astype(np.int64))
    lowest, highest = labels.aminmax()
    if lowest < 0 or highest >= NUM_CLASSES:
        raise UserError(f"the labels of {folder or HUB} must be 0 to {NUM_CLASSES - 1}, not {lowest} to {highest}")
    if len(labels) != count:
        logger.warning("%s has %d %s images, not %d", folder or HUB, len(labels), name, count)
    return Photos(rows, labels)


def _missing(what: str) -> UserError:
    return UserError(f"no {DATASET}: {what}; {WAYS}")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _fetched_before() -> bool:
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / HUB.replace("/", "___")).is_dir()


def _check_hub() -> None:
    """Asks the hub whether it would give the data.

    Raises:
        UserError: If it would not, or cannot be asked.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise _missing(f"{VARIABLE} is not set, nothing was fetched from the hub before, and HF_HUB_OFFLINE is set")
    if get_token() is None:
        raise _missing(f"{VARIABLE} is not set, and there is no token for the hub")
    try:
        HfApi().auth_check(HUB, repo_type="dataset")
    except (GatedRepoError, RepositoryNotFoundError):
        raise _missing(f"{VARIABLE} is not set, and the token for the hub gives no access to {HUB}") from None
    except Exception as error:  # noqa: BLE001  whatever a network does
        raise _missing(f"{VARIABLE} is not set, and the hub cannot be reached ({_first_line(error)})") from None


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """Returns a split's parquet files, in order; none if the folder has none of either split.

    Raises:
        UserError: If there is no such folder, or it has those of the other split alone.
    """
    if not folder.is_dir():
        raise _missing(f"{VARIABLE} is {folder}, which is no folder")
    for place in (folder, folder / "data"):
        found = {key: sorted(place.glob(f"{name}-*.parquet")) for key, (name, _) in SPLITS.items()}
        if any(found.values()):
            if not found[split]:
                raise _missing(f"{place} has no {SPLITS[split][0]}-*.parquet")
            return found[split]
    return []


def _class_folders(folder: Path, split: str) -> dict[int, Path]:
    """Returns the folder of each class by its label: the place of its wnid among all 1,000, sorted, as on the hub.

    Raises:
        UserError: If there are none, or others.
    """
    from timm.data import ImageNetInfo

    place = folder / FOLDERS[split]
    if not place.is_dir():
        raise _missing(f"{folder} has no parquet files and no folder {place.name}")
    found = sorted(path for path in place.iterdir() if path.is_dir())
    if not found:
        raise _missing(f"{place} has no folders named by wnids")
    label = {wnid: index for index, wnid in enumerate(sorted(ImageNetInfo(DATASET).label_names()))}
    if stray := next((path for path in found if path.name not in label), None):
        raise UserError(f"{stray} is not named by a wnid of {DATASET}, such as {next(iter(label))}")
    return {label[path.name]: path for path in found}


def _in_folders(folders: dict[int, Path]) -> Any:
    """Returns the rows of an image folder, paths and labels, sorted by class and name."""
    from datasets import Dataset

    paths: list[str] = []
    labels: list[int] = []
    for label, folder in folders.items():
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(JPEG))
        paths += [str(folder / name) for name in names]
        labels += [label] * len(names)
    if not paths:
        raise _missing(f"no folder in {next(iter(folders.values())).parent} has an image *.JPEG")
    return Dataset.from_dict({"image": [{"bytes": None, "path": path} for path in paths], "label": labels})


def main() -> None:
    """Prepares both splits, so that no job has to: fetches them, or makes the copy of parquet files that is read."""
    check_photos()
    for split, (name, _) in SPLITS.items():
        print(f"{name}: {len(load_photos(split).labels):,} images")


if __name__ == "__main__":
    import sys

    try:
        main()
    except UserError as error:
        sys.exit(str(error))
