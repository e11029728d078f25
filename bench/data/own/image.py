"""Images as they are stored, and the parts of a source that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from bench.core.errors import UserError

# parts that a source may name; the rest of a file's name, as in train-00000-of-00002.parquet, does not matter
PARTS = {
    "calibration": "calibration",
    "tuning": "tuning",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
WHOLE = "all"  # part of a source that names none


@dataclass(frozen=True)
class StoredImage:
    """An image as it is stored.

    Attributes:
        path: File of the image, or the name that messages call it by.
        label: Name of the class, or its number.
        table: Table whose column `image` has it, encoded or decoded; None where it is a file.
        index: Number of the row in the table.
    """

    path: str
    label: str | int
    table: Any = None
    index: int = 0

    def row(self) -> dict[str, Any]:
        """Returns what the decoding of stored images reads."""
        return self.table[self.index] if self.table is not None else {"image": {"bytes": None, "path": self.path}}

    def content(self) -> bytes:
        """Returns the bytes that tell the image from others.

        Raises:
            UserError: If its file cannot be read.
        """
        stored = self.row()["image"]
        if isinstance(stored, PIL.Image.Image):
            return f"{stored.mode} {stored.size}".encode() + stored.tobytes()
        if stored["bytes"] is not None:
            return stored["bytes"]
        try:
            return Path(stored["path"]).read_bytes()
        except OSError as error:
            raise UserError(f"{stored['path']} cannot be read: {error.strerror}") from None


def joined(parts: Iterable[tuple[str, list[StoredImage]]]) -> dict[str, list[StoredImage]]:
    """Returns the images of each part; those of two names of the same part together."""
    found: dict[str, list[StoredImage]] = {}
    for name, images in parts:
        found.setdefault(name, []).extend(images)
    return found


def first_line(error: BaseException) -> str:
    """Returns the kind of an error, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
