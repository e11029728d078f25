"""Shards of WebDataset: tar files of images and their classes, read at random by an index that is made once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import UserError
from bench.core.files import atomic_write

IMAGES, CLASSES = ("jpg", "jpeg", "png"), ("cls",)  # endings of a sample's files; others, such as json, are left
THREADS = 16  # that read headers of shards


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the images of a shard lie; in arrays, whose memory processes that are forked go on sharing.

    Attributes:
        file: The shard.
        names: Names (n,) of the images within it, UTF-8, in the order in which they lie.
        offsets: Where each begins, bytes, (n,).
        sizes: Number of bytes of each, (n,).
        labels: Class of each, (n,).
    """

    file: Path
    names: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, file: Path, columns: Sequence[Sequence[Any]]) -> ShardIndex:
        """Returns the index of a shard from names, offsets, sizes and labels."""
        names, *numbers = columns
        offsets, sizes, labels = (np.array(column, np.int64) for column in numbers)
        return cls(file, np.array([name.encode() for name in names]), offsets, sizes, labels)


class ShardRows:
    """Rows of a split in shards: encoded bytes by index, each read from its place; any process may read.

    Args:
        shards: Indices of the shards, in order.
    """

    def __init__(self, shards: Sequence[ShardIndex]) -> None:
        self._shards = tuple(shards)
        self._ends = np.cumsum([len(shard.labels) for shard in shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        shard = self._shards[number]
        place = index - int(self._ends[number]) + len(shard.labels)
        with shard.file.open("rb") as file:
            file.seek(int(shard.offsets[place]))
            content = file.read(int(shard.sizes[place]))
        return {"image": {"bytes": content, "path": f"{shard.file}/{shard.names[place].decode()}"}}


def find_shards(folder: Path, hub_name: str) -> list[Path]:
    """Returns the shards of a split in a folder, in order; for instance `imagenet1k-train-0000.tar`.

    Args:
        folder: Folder of the shards.
        hub_name: Name of the split on the hub; `val` stands for `validation`, too.
    """
    names = {"validation": "(validation|val)"}.get(hub_name, hub_name)
    pattern = re.compile(rf"(.*[-_.])?{names}[-_.].*\.tar(\.gz|\.xz|\.bz2)?|{names}\.tar")
    return sorted(path for path in folder.glob("*.tar*") if pattern.fullmatch(path.name))


def read_indices(files: Sequence[Path], kept_in: Path) -> list[ShardIndex]:
    """Returns the indices of shards; each is made once for a shard's size and time, and kept.

    Args:
        files: The shards, in order.
        kept_in: Folder where indices are kept, as far as it can be written.

    Raises:
        UserError: If a shard is compressed, was cut off, or has an image without a class.
    """
    with ThreadPoolExecutor(min(THREADS, max(1, len(files)))) as pool:
        return list(pool.map(lambda file: _read_index(file, kept_in), files))


def check_shard(file: Path) -> None:
    """Reads the first header of a shard.

    Raises:
        UserError: If it is no tar file, or compressed.
    """
    if file.suffix != ".tar":
        raise UserError(f"{file} is compressed, so no image can be read by itself: decompress it to {file.stem}")
    try:
        with tarfile.open(file, "r:") as opened:
            opened.next()
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{file} is no readable tar file ({error}): fetch it again") from None


def _read_index(file: Path, kept_in: Path) -> ShardIndex:
    check_shard(file)
    found = file.stat()
    digest = hashlib.sha256(f"{file.absolute()} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:24]
    path = kept_in / f"{digest}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ShardIndex.of(file, json.loads(path.read_text()))
    columns = _read_headers(file, found.st_size)
    with contextlib.suppress(OSError), atomic_write(path) as temporary:
        temporary.write_text(json.dumps(columns))
    return ShardIndex.of(file, columns)


def _read_headers(file: Path, size: int) -> list[list[Any]]:
    """Reads all headers of a shard, and the classes between them.

    Returns:
        Names, offsets, sizes and labels of the images.

    Raises:
        UserError: If it was cut off, or an image has no class or a class that is no number.
    """
    images: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, bytes] = {}
    try:
        with tarfile.open(file, "r:") as opened:
            for member in opened:
                key, ending = _parts(member.name)
                if not member.isfile():
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                if ending in IMAGES:
                    images[key] = (member.name, member.offset_data, member.size)
                elif ending in CLASSES:
                    content = opened.extractfile(member)
                    assert content is not None
                    classes[key] = content.read()
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{file} is no whole tar file ({error}): fetch it again") from None
    labels = [_label(file, name, classes.get(key)) for key, (name, _, _) in images.items()]
    if not labels:
        raise UserError(f"{file} has no image: samples of a shard are KEY.jpg and KEY.cls")
    return [*(list(column) for column in zip(*images.values(), strict=True)), labels]


def _parts(name: str) -> tuple[str, str]:
    """Returns a sample's key, with its folder, and the ending of its file: what follows the first dot."""
    folder, _, base = name.rpartition("/")
    key, _, ending = base.partition(".")
    return os.path.join(folder, key), ending.lower()


def _label(file: Path, name: str, text: bytes | None) -> int:
    """Returns the class of an image.

    Raises:
        UserError: If it has none, or one that is no number.
    """
    if text is None:
        raise UserError(f"{file}: {name} has no class: it needs a file of the same name that ends in .cls")
    try:
        return int(text)
    except ValueError:
        shown = text[:40].decode(errors="replace").strip()
        raise UserError(f"{file}: {name} has the class {shown!r}, which is no number from 0 to 999") from None
