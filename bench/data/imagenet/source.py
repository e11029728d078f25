"""Source of ImageNet-1k: the hub, parquet files or an image folder, as the environment says."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.imagenet.shards import ShardRows, check_shard, find_shards, read_indices

logger = logging.getLogger(__name__)

DATASET, NUM_CLASSES = "imagenet-1k", 1000
HUB = "ILSVRC/imagenet-1k"
FOLDER_VARIABLE, CACHE_VARIABLE = "CAPBENCH_IMAGENET", "CAPBENCH_CACHE"
WAYS = (
    f"set {FOLDER_VARIABLE} to a folder with the hub's parquet files (train-*.parquet and validation-*.parquet, there "
    "or in data/), with shards of WebDataset (*train-*.tar, *validation-*.tar) or with the original images "
    "(train/<wnid>/*.JPEG, val/<wnid>/*.JPEG); or accept the terms at "
    f"https://huggingface.co/datasets/{HUB} and log in with `hf auth login` or HF_TOKEN (docs/imagenet.md)"
)
SPLITS = {"train": ("train", 1_281_167), "test": ("validation", 50_000)}  # the hub's name, images


@dataclass(frozen=True)
class StoredSplit:
    """Split as it is stored, to be read only: readers share it.

    Attributes:
        rows: Data set of the `datasets` library; its column `image` holds encoded bytes, or a path.
        labels: Classes (n,), int64.
        name: Name of the split in messages.
        files: Parquet files that hold its rows, in order; none of an image folder.
    """

    rows: Any
    labels: Tensor
    name: str = ""
    files: tuple[Path, ...] = ()

    def describe(self, index: int, path: str | None) -> str:
        """Returns which image this is, for a message: split, index, name, and the file that holds it.

        Args:
            index: Index of the image.
            path: Its path or name.
        """
        text, first = f"{f'{self.name} ' if self.name else ''}image {index} ({path})", 0
        for file in self.files:
            rows = pq.read_metadata(file).num_rows
            if index < first + rows:
                return f"{text} in row {index - first} of {file}"
            first += rows
        return text


def load_stored_split(split: str) -> StoredSplit:
    """Opens a split, `train` or `test` (ImageNet's validation images), from where the environment says, once.

    Raises:
        UserError: If there are no data, or of another layout, with the ways to provide them.
    """
    return _open_split(split, os.environ.get(FOLDER_VARIABLE))


def check_data() -> None:
    """Makes sure that both splits are there, or that the hub would give them; reads and downloads no images.

    Raises:
        UserError: If not, with what is missing and the ways to provide it.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is not None:
        for split in SPLITS:
            if files := parquet_files(Path(folder), split):
                for file in files:
                    check_file(file)
            elif shards := tar_files(Path(folder), split):
                for shard in shards:
                    check_shard(shard)
            else:
                _class_folders(Path(folder), split)
    elif not _cached_from_hub():
        _check_access()


@cache
def _open_split(split: str, folder: str | None) -> StoredSplit:
    from datasets import Image, disable_progress_bars, load_dataset

    disable_progress_bars()
    hub_name, _ = SPLITS[split]
    files: tuple[Path, ...] = ()
    if folder is None:
        try:
            rows = load_dataset(HUB, split=hub_name)
        except Exception as error:  # noqa: BLE001  of many kinds: no network, no token, no access, no cache
            raise UserError(f"{DATASET} cannot be read from the hub ({_first_line(error)}): {WAYS}") from None
    elif files := tuple(parquet_files(Path(folder), split)):
        for file in files:
            check_file(file)
        rows = load_dataset("parquet", data_files={hub_name: [str(file) for file in files]}, split=hub_name)
    elif shards := tar_files(Path(folder), split):
        return _from_shards(shards, split, folder)
    else:
        rows = _from_folders(_class_folders(Path(folder), split))
    rows = rows.cast_column("image", Image(decode=False))
    labels = torch.from_numpy(rows.data.column("label").to_numpy().astype(np.int64))
    _check_labels(labels, split, folder or HUB)
    return StoredSplit(rows, labels, split, files)


def _from_shards(shards: Sequence[Path], split: str, folder: str) -> StoredSplit:
    """Returns a split that lies in shards of WebDataset."""
    indices = read_indices(shards, index_folder())
    labels = torch.from_numpy(np.concatenate([index.labels for index in indices]))
    _check_labels(labels, split, folder)
    return StoredSplit(ShardRows(indices), labels, split)


def _check_labels(labels: Tensor, split: str, place: str) -> None:
    """Makes sure that classes are in range, and warns where the images are not all of the data set.

    Raises:
        UserError: If one is not.
    """
    count = SPLITS[split][1]
    if labels.min() < 0 or labels.max() >= NUM_CLASSES:
        raise UserError(f"{split} images of {place} have labels {int(labels.min())} to {int(labels.max())}: "
                        f"they must be 0 to {NUM_CLASSES - 1}")  # fmt: skip
    if len(labels) != count:
        logger.warning("%s has %d %s images, not %d", place, len(labels), split, count)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _cached_from_hub() -> bool:
    from datasets import config

    return (Path(config.HF_DATASETS_CACHE) / HUB.replace("/", "___")).is_dir()


def _check_access() -> None:
    """Asks the hub whether it would give the data.

    Raises:
        UserError: If it would not, or cannot be asked.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        reason = f"{FOLDER_VARIABLE} is not set, nothing of it is in the cache of `datasets`, and HF_HUB_OFFLINE is set"
    elif get_token() is None:
        reason = f"{FOLDER_VARIABLE} is not set, and there is no token for the hub"
    else:
        try:
            HfApi().auth_check(HUB, repo_type="dataset")
            return
        except (GatedRepoError, RepositoryNotFoundError):
            reason = f"{FOLDER_VARIABLE} is not set, and the token for the hub has no access to {HUB}"
        except Exception as error:  # noqa: BLE001  a network has many
            reason = f"{FOLDER_VARIABLE} is not set, and the hub cannot be reached ({_first_line(error)})"
    raise UserError(f"no {DATASET}: {reason}; {WAYS}")


def parquet_files(folder: Path, split: str) -> list[Path]:
    """Returns a split's parquet files, in order; none if the folder holds none of any split.

    Raises:
        UserError: If the folder is missing, or holds those of the other split alone.
    """
    if not folder.is_dir():
        raise UserError(f"no {DATASET}: {FOLDER_VARIABLE} is {folder}, which is no folder; {WAYS}")
    for place in (folder, folder / "data"):
        found = {name: sorted(place.glob(f"{hub_name}-*.parquet")) for name, (hub_name, _) in SPLITS.items()}
        if any(found.values()):
            if not found[split]:
                raise UserError(f"no {DATASET}: {place} has no {SPLITS[split][0]}-*.parquet; {WAYS}")
            return found[split]
    return []


def tar_files(folder: Path, split: str) -> list[Path]:
    """Returns a split's shards of WebDataset, in order; none if the folder has none of any split.

    Raises:
        UserError: If it has those of the other split alone.
    """
    found = {name: find_shards(folder, hub_name) for name, (hub_name, _) in SPLITS.items()}
    if any(found.values()) and not found[split]:
        raise UserError(f"no {DATASET}: {folder} has no *{SPLITS[split][0]}-*.tar; {WAYS}")
    return found[split]


def index_folder() -> Path:
    """Returns where the indices of shards are kept."""
    return cache_folder() / "shards"


def cache_folder() -> Path:
    """Returns the folder that the suite keeps things in which are costly to make."""
    return Path(os.environ.get(CACHE_VARIABLE, "~/.cache/capbench")).expanduser()


def check_file(file: Path) -> None:
    """Reads the footer of a parquet file, once for each size and time of the file.

    Raises:
        UserError: If it was cut off, or lacks a column.
    """
    found = file.stat()
    _check_footer(file, found.st_size, found.st_mtime_ns)


@cache
def _check_footer(file: Path, size: int, changed: int) -> None:
    try:
        columns = pq.read_schema(file).names
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file} is no readable parquet file ({error}): fetch it again") from None
    if missing := {"image", "label"} - set(columns):
        raise UserError(f"{file} has no column {min(missing)}: it needs image and label, like the hub's files")


def split_folder(folder: Path, split: str) -> Path:
    """Returns where an image folder has the folders of a split's classes."""
    return folder / ("train" if split == "train" else "val")


def image_names(folder: Path) -> list[str]:
    """Returns the names of the images in a class's folder, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith((".jpeg", ".jpg")))


def _class_folders(folder: Path, split: str) -> dict[int, Path]:
    """Returns the folder of each class; a class's number is the place of its wnid among all 1,000, sorted.

    Raises:
        UserError: If there are none, or others.
    """
    from timm.data import ImageNetInfo

    place = split_folder(folder, split)
    folders = sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    if not folders:
        problem = "holds images but no folders of classes" if place.is_dir() else "is missing"
        raise UserError(f"no {DATASET}: {folder} has no parquet files, and {place} {problem}; {WAYS}")
    number = {wnid: index for index, wnid in enumerate(sorted(ImageNetInfo(DATASET).label_names()))}
    if stray := [path.name for path in folders if path.name not in number]:
        raise UserError(f"{place / stray[0]} is not named by a wnid of {DATASET} such as {next(iter(number))}")
    return {number[path.name]: path for path in folders}


def _from_folders(folders: dict[int, Path]) -> Any:
    """Returns the rows of an image folder: paths and labels, in the order of classes and names."""
    from datasets import Dataset

    paths, labels = [], []
    for label, folder in folders.items():
        names = image_names(folder)
        paths += [{"bytes": None, "path": str(folder / name)} for name in names]
        labels += [label] * len(names)
    if not paths:
        raise UserError(
            f"no {DATASET}: {next(iter(folders.values())).parent} has no image *.JPEG in any folder; {WAYS}"
        )
    return Dataset.from_dict({"image": paths, "label": labels})
