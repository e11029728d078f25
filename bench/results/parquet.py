"""Parquet files that are written as a whole and checked when they are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core import files
from bench.core.errors import UserError
from bench.results.schema import ADDED_COLUMNS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class DamagedError(UserError):
    """A file is cut off or corrupted."""


def write_rows(rows: Iterable[DataclassInstance], schema: pa.Schema, path: Path, level: int | None = None) -> None:
    """Writes rows under a temporary name and renames the file, so that no reader ever sees half of it.

    Args:
        rows: Rows, of a dataclass whose fields are columns of the schema; a column that it lacks becomes null.
        schema: Schema of the file, see `bench.results.schema.arrow_schema`.
        path: The file; its folder is made if need be.
        level: Level of the compression; None for the library's own.

    Raises:
        KeyError: If a row has a field that is no column of the schema.
    """
    values = [{field.name: getattr(row, field.name) for field in dataclasses.fields(row)} for row in rows]
    if stray := {name for row in values for name in row} - set(schema.names):
        raise KeyError(f"columns {sorted(stray)} are not in the schema")
    write_table(pa.Table.from_pylist(values, schema=schema), path, level)


def write_table(table: pa.Table, path: Path, level: int | None = None) -> None:
    """Writes a table under a temporary name and renames the file; `level` is that of the compression."""
    with files.atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=level, write_page_checksum=True)


def check_whole(path: Path) -> None:
    """Makes sure that a parquet file, if it is there, has its end, where its structure stands; reads no values.

    Raises:
        DamagedError: If it is cut off.
    """
    try:
        if path.exists():
            pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedError(f"{path} is no readable parquet file ({error}): run the sweep again") from None


def read_rows(path: Path, schema: pa.Schema) -> pa.Table:
    """Reads a table that `write_rows` wrote.

    Args:
        path: The file.
        schema: Schema that it must have, in any order of columns; of `ADDED_COLUMNS` those that it lacks are null.

    Raises:
        DamagedError: If the file is cut off or corrupted.
        UserError: If it is of another schema.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DamagedError(f"{path} is no readable parquet file ({error}): run the sweep again") from None
    known = set(table.schema.names)
    if known <= set(schema.names) and set(schema.names) - known <= set(ADDED_COLUMNS):
        columns = [table[field.name] if field.name in known else pa.nulls(len(table), field.type) for field in schema]
        fields = [table.schema.field(field.name) if field.name in known else field for field in schema]
        table = pa.table(columns, schema=pa.schema(fields, table.schema.metadata))
    if not table.schema.equals(schema):
        different = sorted({f.name for f in schema} ^ set(table.schema.names)) or ["types"]
        raise UserError(f"{path} has another schema ({', '.join(different)} differ): delete it and run the sweep again")
    return table
