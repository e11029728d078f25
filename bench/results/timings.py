"""Measured times of inference on disk: one parquet file per cell, and their collection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import Field

from bench.core import provenance
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.results.folders import WORKING, check_working, profile_folder, source
from bench.results.parquet import DamagedError, read_rows, write_rows, write_table
from bench.results.schema import arrow_schema

TIMED, WRONG, FAILED = "timed", "wrong", "failed"


@dataclass(kw_only=True)
class TimingRow:
    """One engine at one sparsity in a cell. What was not measured is None.

    Attributes:
        model: Name of the model in its profile.
        family: Family of the model.
        timm_name: timm's name of the architecture.
        batch: Images in a pass.
        threads: Threads of a pass.
        engine: Name of the engine.
        dense: Whether zeros among the weights make no difference to the engine.
        sparsity_target: Fraction of zeros asked for.
        sparsity_prunable: Fraction of zeros in the layers that are pruned.
        status: One of `TIMED`, `WRONG` (other outputs than eager's) and `FAILED` (no outputs).
        error: Reason why there is no time.
        deviation: Largest difference to eager's outputs, relative to the largest of these.
        seconds: Time of one pass, by round; the rounds of a cell's rows go together.
        others: Cores that other processes took while the cell's rounds ran, mean.
        build_seconds: Time of export or compilation, once per model, seconds.
        load_seconds: Time to load it again from what building it left on disk, seconds.
        memory_bytes: Memory that the engine and a pass take, in a process of its own.
        layers_sparse: Layers that the sparse engine runs with its own kernels.
        layers_dense: Layers that it leaves dense, of those that are pruned.
        cell: Hash of the cell.
        commit: Commit of the code.
        dirty: Whether tracked files differed from it.
        versions: JSON of the versions of packages.
        processor: Name of the processor.
        cores: Cores of the machine.
        started_at: Start of the cell's measurement.
        macs: Multiply-adds of a pass that the zeros of the prunable layers leave.
        peak_macs: Multiply-adds a second of a large dense matrix product with the same threads.
    """

    model: str
    family: str
    timm_name: str
    batch: int
    threads: int
    engine: str
    dense: bool
    sparsity_target: float
    sparsity_prunable: float | None = None
    status: str
    error: str | None = None
    deviation: float | None = None
    seconds: list[float] | None = None
    others: float | None = None
    build_seconds: float | None = None
    load_seconds: float | None = None
    memory_bytes: int | None = None
    layers_sparse: int | None = None
    layers_dense: int | None = None
    cell: str
    commit: str | None
    dirty: bool | None
    versions: str
    processor: str
    cores: int | None
    started_at: datetime | None = None
    macs: int | None = None
    peak_macs: float | None = None


SCHEMA = arrow_schema(TimingRow)


class Cell(Spec):
    """One measurement: a model at one batch size and number of threads, all engines in one process, in rounds.

    Attributes:
        profile: Profile of the model.
        model: Name of the model in its profile, or the text of a user's own.
        file: SHA-256 of the file that a user's own model comes from; None of any other.
        batch: Images in a pass.
        threads: Threads of a pass.
        engines: Names of `bench.latency.engines.ENGINES`, eager among them.
        sparsities: Sparsities of the sparse engine, fractions; its control, at 0, goes with them.
        seconds: Time that the rounds should take, seconds.
        memory: Whether the memory of each engine is measured too.
        seed: Seed of the weights and the input.
    """

    profile: str
    model: str
    file: str | None = None
    batch: int = Field(ge=1)
    threads: int = Field(ge=1)
    engines: tuple[str, ...]
    sparsities: tuple[float, ...]
    seconds: float = Field(20.0, gt=0)
    memory: bool = False
    seed: int = Field(0, ge=0)

    @property
    def label(self) -> str:
        """Name for lists and messages."""
        return f"{self.model}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def id(self) -> str:
        """Hash of all values."""
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True).encode()
        ).hexdigest()[:16]


def find_timings(name: str, results: Path = WORKING) -> Timings:
    """Returns the place of measurements: the working folder, or where it has none of this name the published one."""
    return Timings(source(f"{name}/{name}.parquet", results), name)


class Timings:
    """Measurements of one name on disk.

    Args:
        results: Folder of all results.
        name: Name of the measurements, and of their folder.
    """

    def __init__(self, results: Path, name: str) -> None:
        self.results, self.name = results, name
        self.collected = results / name / f"{name}.parquet"
        self.folder = results / name / "cells"

    def path(self, cell: Cell) -> Path:
        """Returns where a cell's rows are; a new measurement of the same model, batch and threads replaces them."""
        return self.folder / f"{cell.profile}-{profile_folder(cell.model)}-b{cell.batch}-t{cell.threads}.parquet"

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

    def write(self, cell: Cell, rows: Iterable[TimingRow]) -> None:
        """Writes what was measured of a cell."""
        write_rows(rows, SCHEMA, self.path(cell))

    def collect(self) -> pd.DataFrame:
        """Joins all cells into one table on disk and returns it.

        Raises:
            UserError: If nothing has been measured, a file is damaged or of another schema, or the folder is the
                published one.
        """
        check_working(self.results)
        tables = [read_rows(path, SCHEMA) for path in sorted(self.folder.glob("*.parquet"))]
        if not tables:
            raise UserError(f"{self.folder} has no measurements: make some with capbench latency --name {self.name}")
        order = [(column, "ascending") for column in ("model", "threads", "batch")]  # a stable sort: engines stay
        write_table(pa.concat_tables(tables).sort_by(order), self.collected)
        return self.read()

    def read(self) -> pd.DataFrame:
        """Returns the collected table.

        Raises:
            UserError: If there is none, or it is damaged or of another schema.
        """
        if not self.collected.exists():
            raise UserError(f"{self.collected} does not exist: measure with capbench latency --name {self.name}")
        return read_rows(self.collected, SCHEMA).to_pandas()
