"""Measured times of inference on disk: one parquet file per cell, and their collection. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import Field

from bench.core import provenance
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.results.store import DamagedError, Row, read_rows, write_rows

TIMED, WRONG, FAILED = "timed", "wrong", "failed"

# one row per engine and sparsity of a cell; sparsities as fractions, times in seconds
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("family", pa.string()),
        ("timm_name", pa.string()),
        ("batch", pa.int64()),
        ("threads", pa.int64()),
        ("engine", pa.string()),
        ("dense", pa.bool_()),  # whether zeros make no difference to the engine
        ("sparsity_target", pa.float64()),
        ("sparsity_prunable", pa.float64()),
        ("status", pa.string()),  # timed; wrong: other outputs than eager's; failed: no outputs
        ("error", pa.string()),
        ("deviation", pa.float64()),  # largest difference to eager's outputs, relative to the largest of these
        ("seconds", pa.list_(pa.float64())),  # of one pass, by round: those of a cell's rows go together
        ("others", pa.float64()),  # cores that other processes took while the cell's rounds ran, mean
        ("build_seconds", pa.float64()),  # export or compilation, once per model
        ("memory_bytes", pa.int64()),  # that the engine and a pass take, in a process of its own
        ("layers_sparse", pa.int64()),  # that the sparse engine runs with its own kernels
        ("layers_dense", pa.int64()),  # that it leaves dense, of those that are pruned
        ("cell", pa.string()),
        ("commit", pa.string()),
        ("dirty", pa.bool_()),
        ("versions", pa.string()),
        ("processor", pa.string()),
        ("cores", pa.int64()),
        ("started_at", pa.timestamp("us", tz="UTC")),
    ]
)


class Cell(Spec):
    """What is measured together, in one process, in rounds.

    Attributes:
        profile: Profile of the model.
        model: Its name there.
        batch: Images in a pass.
        threads: That a pass may use.
        engines: Names of `bench.latency.engines.ENGINES`, eager among them.
        sparsities: Of the sparse engine; its control, at 0, goes with them.
        seconds: That the rounds should take.
        memory: Whether the memory of each engine is measured too.
        seed: Of the weights and the input.
    """

    profile: str
    model: str
    batch: int = Field(ge=1)
    threads: int = Field(ge=1)
    engines: tuple[str, ...]
    sparsities: tuple[float, ...]
    seconds: float = Field(20.0, gt=0)
    memory: bool = False
    seed: int = Field(0, ge=0)

    @property
    def label(self) -> str:
        """What a reader sees of it in lists and messages."""
        return f"{self.model}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def id(self) -> str:
        """A hash of all its values."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


class Timings:
    """The measurements of one kind on disk.

    Args:
        results: Folder of all results.
        name: What the measurements are called.
    """

    def __init__(self, results: Path, name: str) -> None:
        self.name = name
        self.collected = results / name / f"{name}.parquet"
        self.folder = results / name / "cells"

    def path(self, cell: Cell) -> Path:
        """Returns where a cell's rows are; a new measurement of the same model, batch and threads replaces them."""
        return self.folder / f"{cell.profile}-{cell.model}-b{cell.batch}-t{cell.threads}.parquet"

    def is_measured(self, cell: Cell) -> bool:
        """Returns whether the cell has been measured with this very code on such a processor."""
        if provenance.commit() is None or provenance.dirty() or not self.path(cell).exists():
            return False
        now = (cell.id, provenance.commit(), False, provenance.processor())
        try:
            rows = self.rows([cell])
        except DamagedError:
            return False
        then = rows[["cell", "commit", "dirty", "processor"]].itertuples(index=False, name=None)
        return set(then) == {now}

    def rows(self, cells: Iterable[Cell]) -> pd.DataFrame:
        """Returns what was measured of cells; one that was not is left out.

        Raises:
            UserError: If a file is damaged or of another schema.
        """
        tables = [read_rows(self.path(cell), SCHEMA) for cell in cells if self.path(cell).exists()]
        return pa.concat_tables([SCHEMA.empty_table(), *tables]).to_pandas()

    def write(self, cell: Cell, rows: Iterable[Row]) -> None:
        """Writes what was measured of a cell."""
        write_rows(rows, SCHEMA, self.path(cell))

    def collect(self) -> pd.DataFrame:
        """Joins all cells into one table on disk and returns it.

        Raises:
            UserError: If nothing has been measured, or a file is damaged or of another schema.
        """
        tables = [read_rows(path, SCHEMA) for path in sorted(self.folder.glob("*.parquet"))]
        if not tables:
            raise UserError(f"{self.folder} has no measurements: make some with capbench latency --name {self.name}")
        rows = pa.concat_tables(tables).to_pylist()
        rows.sort(key=lambda row: (row["model"], row["threads"], row["batch"]))
        write_rows(rows, SCHEMA, self.collected)
        return self.read()

    def read(self) -> pd.DataFrame:
        """Returns the collected table.

        Raises:
            UserError: If there is none, or it is damaged or of another schema.
        """
        if not self.collected.exists():
            raise UserError(f"{self.collected} does not exist: measure with capbench latency --name {self.name}")
        return read_rows(self.collected, SCHEMA).to_pandas()
