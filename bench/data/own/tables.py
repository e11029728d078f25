"""Images in tables of the `datasets` library: parquet files, and data sets of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.core.errors import UserError
from bench.data.own.image import PARTS, WHOLE, StoredImage, first_line, joined


@dataclass(frozen=True)
class Columns:
    """Columns of a table; the usual ones where none is named.

    Attributes:
        image: Name of the column of images.
        label: Name of the column of labels.
    """

    image: str | None = None
    label: str | None = None

    def of_images(self, rows: Any, where: str) -> str:
        """Returns the name of the column of images in a table."""
        return _column(rows, "Image", ("image", "img"), self.image, where)

    def of_labels(self, rows: Any, where: str) -> str:
        """Returns the name of the column of labels in a table."""
        return _column(rows, "ClassLabel", ("label",), self.label, where)


@dataclass(frozen=True)
class ParquetFiles:
    """Parquet files of the `datasets` library, with a column of images and one of labels.

    Attributes:
        place: A file, or a folder of files whose names begin with those of parts.
        columns: The two columns.
    """

    place: Path
    columns: Columns = Columns()

    def parts(self) -> Mapping[str, Sequence[StoredImage]]:
        """Returns the images of each part: see `DataSource`."""
        return {name: _table_images(rows, self.columns, f"{self}, {name}") for name, rows in self._tables().items()}

    def class_names(self) -> Sequence[str] | None:
        """Returns the names of the label column's classes."""
        return _shared_classes(self._tables(), self.columns, str(self))

    def _tables(self) -> Mapping[str, Any]:
        from datasets import disable_progress_bars, load_dataset

        files = sorted(self.place.glob("*.parquet")) if self.place.is_dir() else [self.place]
        if not files or not files[0].is_file():
            raise UserError(f"{self}: there is no such file, nor a folder of that name with *.parquet")
        starts = [file.name.partition("-")[0].removesuffix(".parquet") for file in files]
        whole = not any(start in PARTS for start in starts)
        if not whole and (stray := [file for file, start in zip(files, starts, strict=True) if start not in PARTS]):
            raise UserError(f"{stray[0]} is of no part: let its name begin with one of {', '.join(PARTS)}")
        named: dict[str, list[str]] = {}
        for file, start in zip(files, starts, strict=True):
            named.setdefault(WHOLE if whole else PARTS[start], []).append(str(file))
        disable_progress_bars()
        try:
            return {name: load_dataset("parquet", data_files=some, split="train") for name, some in named.items()}
        except Exception as error:  # noqa: BLE001  a file that is no parquet file raises anything
            raise UserError(f"{self} cannot be read: {first_line(error)}") from None

    def __str__(self) -> str:
        return f"parquet:{self.place}{_query(self.columns)}"


@dataclass(frozen=True)
class HubDataset:
    """Data set of the Hugging Face hub, with a column of images and one of labels.

    Attributes:
        name: Name on the hub.
        columns: The two columns.
        config: Configuration of the data set; None for its only or usual one.
    """

    name: str
    columns: Columns = Columns()
    config: str | None = None

    def parts(self) -> Mapping[str, Sequence[StoredImage]]:
        """Returns the images of each part: see `DataSource`."""
        tables = self._tables()
        known = [name for name in tables if name in PARTS]
        found = {name: _table_images(tables[name], self.columns, f"{self}, {name}") for name in known or tables}
        if not known:
            return {WHOLE: [image for images in found.values() for image in images]}
        return joined((PARTS[name], images) for name, images in found.items())

    def class_names(self) -> Sequence[str] | None:
        """Returns the names of the label column's classes."""
        return _shared_classes(self._tables(), self.columns, str(self))

    def _tables(self) -> Mapping[str, Any]:
        from datasets import disable_progress_bars, load_dataset

        disable_progress_bars()
        try:
            return dict(load_dataset(self.name, self.config))
        except Exception as error:  # noqa: BLE001  of many kinds: no network, no token, no access, no such data set
            raise UserError(f"{self} cannot be read: {first_line(error)}") from None

    def __str__(self) -> str:
        return f"hub:{self.name}{_query(self.columns, self.config)}"


def _query(columns: Columns, config: str | None = None) -> str:
    """Returns what follows a place that is not read in the usual way: `?label=fine_label`."""
    given = {"config": config, "image": columns.image, "label": columns.label}
    words = urlencode({key: value for key, value in given.items() if value is not None}, safe="/ ")
    return f"?{words}" if words else ""


def _column(rows: Any, kind: str, names: Sequence[str], given: str | None, where: str) -> str:
    """Returns the name of the column of images or labels: that given, a usual name, or the only one of its kind."""
    if given is not None:
        if given not in rows.features:
            raise UserError(f"{where} has no column {given}: its columns are {', '.join(rows.features)}")
        return given
    typed = [name for name, feature in rows.features.items() if type(feature).__name__ == kind]
    usual = [name for name in names if name in rows.features]
    if not usual and len(typed) != 1:
        raise UserError(f"{where} has no column {' or '.join(names)}: its columns are {', '.join(rows.features)}")
    return (usual or typed)[0]


def _table_images(rows: Any, columns: Columns, where: str) -> list[StoredImage]:
    from datasets import Image

    image, label = columns.of_images(rows, where), columns.of_labels(rows, where)
    try:
        table = rows.select_columns([image]).cast_column(image, Image(decode=False))
    except Exception as error:  # noqa: BLE001  of many kinds, by what the column holds
        raise UserError(f"{where}: column {image} holds no images: {first_line(error)}") from None
    table = table if image == "image" else table.rename_column(image, "image")
    labels = enumerate(rows[label][:])
    return [StoredImage(f"image {number} of {where}", cls, table=table, index=number) for number, cls in labels]


def _shared_classes(tables: Mapping[str, Any], columns: Columns, where: str) -> Sequence[str] | None:
    """Returns the names of classes, which labels of all parts count through; None where the tables do not name them.

    Raises:
        UserError: If parts name other classes, or in another order: the same label would mean two things.
    """
    named = {part: _table_classes(rows, columns, f"{where}, {part}") for part, rows in tables.items()}
    known = {part: list(names) for part, names in named.items() if names is not None}
    if not known:
        return None
    (first, names), *others = known.items()
    for part, own in others:
        if own != names:
            raise UserError(
                f"{where}: the classes of {part} are {', '.join(own)}, those of {first} {', '.join(names)}: "
                "write all parts with the same names of the label column, in the same order"
            )
    return names


def _table_classes(rows: Any, columns: Columns, where: str) -> Sequence[str] | None:
    return getattr(rows.features[columns.of_labels(rows, where)], "names", None)
