"""Card of the ImageNet images of a folder, made from names and labels alone and kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from bench.core.errors import UserError
from bench.core.files import atomic_write
from bench.data.card import DataCard
from bench.data.imagenet.shards import read_indices
from bench.data.imagenet.source import (
    FOLDER_VARIABLE,
    NUM_CLASSES,
    SPLITS,
    cache_folder,
    image_names,
    index_folder,
    parquet_files,
    split_folder,
    tar_files,
)

PER_TEST_CLASS = 50  # test images of each class of the whole data set


def find_card() -> DataCard | None:
    """Returns the card of the images in the environment's folder.

    It is read anew where the folder has changed. Of a folder that another machine has, the last card that such a
    machine has kept holds.

    Returns:
        The card; None if nothing is known: the images come from the hub, or the folder was never seen.
    """
    text = os.environ.get(FOLDER_VARIABLE)
    if text is None:
        return None
    folder = Path(text).absolute()
    places = (folder, folder / "data", *(split_folder(folder, split) for split in SPLITS))
    return _card(
        folder, tuple(place.stat().st_mtime_ns if place.is_dir() else None for place in places), cache_folder()
    )


@cache
def _card(folder: Path, changed: tuple[int | None, ...], kept_in: Path) -> DataCard | None:
    """Returns the card of a folder, for the times at which it and the folders in it have changed."""
    path = kept_in / "data" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    kept, stamp = _read(path), ""
    if folder.is_dir():
        try:
            stamp = _stamp(folder)
            if kept is None or kept["stamp"] != stamp:
                kept = _write(path, folder, stamp)
        except (UserError, OSError):  # a run will say what is wrong with them
            return None
    return DataCard(kept["train"], kept["test"], kept["checksum"], kept["whole"]) if kept is not None else None


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, folder: Path, stamp: str) -> dict:
    """Returns the values of a new card, and keeps them where that can be written."""
    digest, counts, classes = hashlib.sha256(), {}, Counter[str]()
    for split in SPLITS:
        counts[split] = 0
        for label, names in _named(folder, split):
            digest.update("\n".join((f"{split} {label}", *names, "")).encode())
            counts[split] += len(names)
            if split == "test":
                classes[label] += len(names)
    whole = counts == {split: count for split, (_, count) in SPLITS.items()} and (
        len(classes) == NUM_CLASSES and set(classes.values()) == {PER_TEST_CLASS}
    )
    made = {"folder": str(folder), "stamp": stamp, "checksum": digest.hexdigest()[:16], "whole": whole, **counts}
    with contextlib.suppress(OSError), atomic_write(path) as temporary:
        temporary.write_text(json.dumps(made))
    return made


def _stamp(folder: Path) -> str:
    """Returns a digest of the files' sizes and times, of an image folder of the times of the classes' folders."""
    found = []
    for split in SPLITS:
        stored = parquet_files(folder, split) or tar_files(folder, split)
        places = stored or sorted(split_folder(folder, split).iterdir())
        for place in places:
            known = place.stat()
            found.append((str(place), known.st_mtime_ns, None if place.is_dir() else known.st_size))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _named(folder: Path, split: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the labels of a split, each with the names of the images that follow one another under it."""
    if files := parquet_files(folder, split):
        for file in files:
            yield from _named_in(file)
    elif shards := tar_files(folder, split):
        for index in read_indices(shards, index_folder()):
            for name, label in zip(index.names.tolist(), index.labels.tolist(), strict=True):
                yield str(label), [name.decode()]
    else:
        for place in sorted(path for path in split_folder(folder, split).iterdir() if path.is_dir()):
            yield place.name, image_names(place)


def _named_in(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the same of a parquet file; of its images only names are read, or, where they have none, a size."""
    with pq.ParquetFile(file) as opened:
        parts = {opened.metadata.schema.column(n).path: n for n in range(opened.metadata.num_columns)}
        table = opened.read(columns=[part for part in ("image.path", "label") if part in parts], use_threads=False)
        content = parts.get("image.bytes", 0)
        groups = (opened.metadata.row_group(n) for n in range(opened.metadata.num_row_groups))
        size = sum(group.column(content).total_compressed_size for group in groups)
    labels = table["label"].to_pylist()
    images = table["image"].to_pylist() if "image" in table.column_names else [None] * len(labels)
    for row, (label, image) in enumerate(zip(labels, images, strict=True)):
        yield str(label), [(image or {}).get("path") or f"{size} {row}"]
