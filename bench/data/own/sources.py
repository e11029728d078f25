"""Sources of a user's own images: small classes of one protocol, each found by its text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import PIL.Image

from bench.core.errors import UserError
from bench.data.own.image import PARTS, WHOLE, StoredImage, joined
from bench.data.own.tables import Columns, HubDataset, ParquetFiles
from bench.data.own.user_file import call_in_file

KINDS = "imagefolder:FOLDER, parquet:FILE or FOLDER, hub:NAME, or my_data.py:FUNCTION"


class DataSource(Protocol):
    """Labelled images that lie somewhere."""

    def parts(self) -> Mapping[str, Sequence[StoredImage]]:
        """Returns the images of each part that the source names, or of `WHOLE`.

        Raises:
            UserError: If there are none, or they are of another form.
        """
        ...

    def class_names(self) -> Sequence[str] | None:
        """Returns the names of the classes in order, those without an image included; None where labels tell them."""
        ...


@dataclass(frozen=True)
class ImageFolder:
    """A folder with a folder of images for each class, or with such folders for each part.

    Attributes:
        folder: Path of the folder.
    """

    folder: Path

    def parts(self) -> Mapping[str, Sequence[StoredImage]]:
        """Returns the images of each part: see `DataSource`."""
        if not self.folder.is_dir():
            raise UserError(f"imagefolder:{self.folder}: there is no such folder")
        inside = _folders(self.folder)
        named = [path for path in inside if path.name in PARTS and _folders(path)]
        if not named:
            return {WHOLE: self._images(self.folder)}
        if stray := [path.name for path in inside if path not in named]:
            raise UserError(
                f"imagefolder:{self.folder} has {named[0].name}, a part, beside {stray[0]}, which is none: parts are "
                f"{', '.join(PARTS)}, each with a folder for every class"
            )
        return joined((PARTS[path.name], self._images(path)) for path in named)

    def _images(self, place: Path) -> list[StoredImage]:
        extensions = PIL.Image.registered_extensions()  # which fills in PIL.Image.OPEN
        known = tuple(end for end, kind in extensions.items() if kind in PIL.Image.OPEN)
        found = [
            StoredImage(str(path / name), path.name)
            for path in _folders(place)
            for name in sorted(entry.name for entry in os.scandir(path) if entry.is_file())
            if name.lower().endswith(known)
        ]
        if not found:
            raise UserError(f"imagefolder:{self.folder}: {place} has no image in the folder of any class: it needs "
                            f"{place}/CLASS/IMAGE.jpg")  # fmt: skip
        return found

    def class_names(self) -> None:
        """Returns None: the folders' names are the labels."""


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


@dataclass(frozen=True)
class ImagesOfPairs:
    """Table of the images of (image, label) pairs, which are read when they are wanted.

    Attributes:
        pairs: The pairs, by their index.
    """

    pairs: Any

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.pairs[index][0]}


@dataclass(frozen=True)
class DataFunction:
    """Function in a user's file that returns the images.

    Attributes:
        file: Path of the file.
        name: Name of the function: it returns (image, label) pairs, or {part: such pairs}; an image is a path or a
            PIL image, a label the name or the number of a class.
    """

    file: Path
    name: str

    def parts(self) -> Mapping[str, Sequence[StoredImage]]:
        """Returns the images of each part: see `DataSource`."""
        found = call_in_file(self.file, self.name)
        parts = found if isinstance(found, Mapping) else {WHOLE: found}
        if stray := [name for name in parts if name not in (*PARTS, WHOLE)]:
            raise UserError(f"{self} has a part {stray[0]!r}: parts are {', '.join(PARTS)}")
        return joined((PARTS.get(name, WHOLE), self._images(name, pairs)) for name, pairs in parts.items())

    def _images(self, part: str, pairs: Any) -> list[StoredImage]:
        try:
            return [self._image(part, pairs, number, *pairs[number]) for number in range(len(pairs))]
        except (TypeError, ValueError, KeyError):
            raise UserError(
                f"{self} must return a sequence of (image, label), or {{part: such a sequence}}: an image is a path or "
                "a PIL image, a label the name or the number of a class"
            ) from None

    def _image(self, part: str, pairs: Any, number: int, image: Any, label: Any) -> StoredImage:
        label = label if isinstance(label, str) else int(label)
        if isinstance(image, PIL.Image.Image):
            return StoredImage(f"image {number} of {self} ({part})", label, ImagesOfPairs(pairs), number)
        if isinstance(image, str | Path):
            return StoredImage(str(image), label)
        raise TypeError(type(image))

    def class_names(self) -> None:
        """Returns None: the labels tell them."""

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


def find_source(text: str) -> DataSource:
    """Returns the source of images that a text stands for.

    Raises:
        UserError: If it stands for none; the message lists those there are.
    """
    kind, _, rest = text.partition(":")
    if kind == "imagefolder" and rest:
        return ImageFolder(Path(rest))
    if kind == "parquet" and rest:
        place, columns, _ = _read_table_text(text, rest, ("image", "label"))
        return ParquetFiles(Path(place), columns)
    if kind == "hub" and rest:
        return HubDataset(*_read_table_text(text, rest, ("config", "image", "label")))
    path, _, name = text.rpartition(":")
    if path.endswith(".py") and name:
        return DataFunction(Path(path), name)
    raise UserError(f"unknown data {text!r}: give {KINDS}")


def _read_table_text(text: str, rest: str, keys: Sequence[str]) -> tuple[str, Columns, str | None]:
    """Returns the place in the text of a table, its columns and its configuration.

    Args:
        text: The whole text.
        rest: What of it stands after the kind: a place, and perhaps `?label=fine_label`.
        keys: Keys that may follow the place.

    Raises:
        UserError: If another one does, or one without a value.
    """
    place, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not place or (query and not all(given.values())) or set(given) - set(keys) or bool(query) != bool(given):
        raise UserError(f"unknown data {text!r}: after the place may stand ? and KEY=VALUE, & between several, of "
                        f"{', '.join(keys)}")  # fmt: skip
    return place, Columns(given.get("image"), given.get("label")), given.get("config")
