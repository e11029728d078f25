"""Layouts in which CIFAR-10 is spread, and the images of each: (n, 32, 32, 3) and classes (n,), both uint8."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from bench.core.errors import UserError

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
PARTS = ("train", "test")
BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
# what the arrays in the original pickles are made of: no other code of a file is run
PICKLED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
}
# what reading a file of another kind, or half a file, may raise
DAMAGED = (ValueError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile)

Part: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Layout:
    """A way in which the images lie in files.

    Attributes:
        name: Name for messages.
        files: Function that returns the files of a part that are in a folder, in order.
        read: Function that returns the images and classes in one of them.
    """

    name: str
    files: Callable[[Path, str], list[Path]]
    read: Callable[[Path, str], Part]


def find_files(folder: Path) -> tuple[Layout, dict[str, list[Path]]] | None:
    """Returns the layout of a folder and the files of each part, None where it has none."""
    for layout in LAYOUTS:
        for place in (folder, *(folder / name for name in PLACES)):
            found = {part: layout.files(place, part) for part in PARTS}
            if any(found.values()):
                return layout, found
    return None


def _python_files(folder: Path, part: str) -> list[Path]:
    return _whole([folder / name for name in BATCHES[part]])


def _binary_files(folder: Path, part: str) -> list[Path]:
    return _whole([folder / f"{name}.bin" for name in BATCHES[part]])


def _whole(files: list[Path]) -> list[Path]:
    """Returns the files, none where none is there.

    Raises:
        UserError: If some are there and another is not.
    """
    there = [file for file in files if file.is_file()]
    if there and len(there) < len(files):
        missing = next(file for file in files if file not in there)
        raise UserError(f"{missing} is missing, though {there[0].name} is there: copy CIFAR-10 again")
    return there


def _parquet_files(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}*.parquet"))


def _array_files(folder: Path, part: str) -> list[Path]:
    found = sorted(folder.glob("*.npz"))
    if len(found) > 1:
        raise UserError(f"{folder} has {found[0].name} and {found[1].name}: leave the one with CIFAR-10")
    return found


class _ArrayUnpickler(pickle.Unpickler):
    """Reader of pickles that builds arrays and plain values, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _read_pickle(file: Path, part: str) -> Part:
    with file.open("rb") as stream:
        values = _ArrayUnpickler(stream, encoding="bytes").load()
    pixels = np.asarray(values[b"data"], dtype=np.uint8).reshape(-1, CHANNELS, SIDE, SIDE)
    return pixels.transpose(0, 2, 3, 1), np.asarray(values[b"labels"])


def _read_binary(file: Path, part: str) -> Part:
    rows = np.fromfile(file, dtype=np.uint8).reshape(-1, 1 + PIXELS)
    return rows[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1), rows[:, 0]


def _read_parquet(file: Path, part: str) -> Part:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    (column,) = [name for name in ("img", "image") if name in table.column_names]
    encoded = (row["bytes"] for row in table[column].to_pylist())
    images = [np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")) for content in encoded]
    return np.stack(images), table["label"].to_numpy()


def _read_arrays(file: Path, part: str) -> Part:
    with np.load(file, allow_pickle=False) as arrays:
        return arrays[f"{part}_images"], arrays[f"{part}_labels"]


PLACES = ("cifar-10-batches-py", "cifar-10-batches-bin", "data", "plain_text")  # folders within the user's
LAYOUTS = (
    Layout("pickles as torchvision has them", _python_files, _read_pickle),
    Layout("binary records", _binary_files, _read_binary),
    Layout("parquet files of the hub", _parquet_files, _read_parquet),
    Layout("arrays of numpy", _array_files, _read_arrays),
)


def read_part(layout: Layout, files: list[Path], part: str) -> Part:
    """Returns the images (n, 32, 32, 3) and classes (n,) of a part, uint8.

    Raises:
        UserError: If a file cannot be read, or holds other images.
    """
    parts = [*_read_each(layout, files, part)]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _read_each(layout: Layout, files: list[Path], part: str) -> Iterator[Part]:
    for file in files:
        try:
            images, labels = layout.read(file, part)
        except DAMAGED as error:
            first = (str(error).splitlines() or [""])[0]
            raise UserError(f"{file} is no file of CIFAR-10, {layout.name}: {type(error).__name__}: {first}") from None
        problem = _problem(images, labels)
        if problem:
            raise UserError(f"{file} is no file of CIFAR-10, {layout.name}: it has {problem}")
        yield images, labels.astype(np.uint8)


def _problem(images: NDArray[Any], labels: NDArray[Any]) -> str | None:
    """Returns what keeps arrays from being images and classes of CIFAR-10."""
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, CHANNELS) or not len(images):
        return f"images {images.shape} of {images.dtype}, not (n, {SIDE}, {SIDE}, {CHANNELS}) of uint8"
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        return f"labels {labels.shape} of {labels.dtype} for {len(images)} images"
    if labels.min() < 0 or labels.max() > 9:
        return f"a label {labels.max() if labels.max() > 9 else labels.min()}, but classes are 0 to 9"
    return None
