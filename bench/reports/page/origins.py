"""Origin of the page's numbers: file, code, packages, machine and command of each sweep."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.files import sha256
from bench.reports.common.origin import NO_CHECKOUT, wheel_versions
from bench.reports.page.data import Origin
from bench.results import folders
from bench.results.parquet import read_rows
from bench.results.schema import SCHEMA
from bench.results.store import Store
from bench.results.timings import TIMED, Timings


def made_in(store: Store) -> Store:
    """Returns the results that a sweep's rows were made in: of published ones those in the working folder."""
    if not folders.is_published(store.results):
        return store
    return Store(folders.WORKING, store.profile, store.sweep, source=store.source)


def sweep_origin(store: Store, rows: pd.DataFrame) -> Origin:
    """Returns where the rows of a sweep come from.

    Args:
        store: Results of the sweep.
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
    """
    wanted = rows[rows["phase"] != "dense"]
    results = made_in(store).results
    command = made_in(store).command("run") or ""
    folder = "" if results == folders.WORKING else f" --results {shlex.quote(str(results))}"
    failed = int((wanted["status"] != "done").sum())
    return _origin(store.sweep, store.collected, rows, ("trial_id", "device"), failed, command, folder)


def timings_origin(timings: Timings) -> Origin:
    """Returns where measured times come from."""
    rows = timings.read()
    failed = int((rows["status"] != TIMED).sum())
    command = f"capbench latency --name {timings.name} --memory 16"
    return _origin(timings.name, timings.collected, rows, ("cell", "processor"), failed, command, "")


def _origin(
    sweep: str, file: Path, rows: pd.DataFrame, columns: tuple[str, str], failed: int, command: str, folder: str
) -> Origin:
    """Returns the origin of rows, by the columns that name a unit of work and its device."""
    unit, device = columns
    started = pd.to_datetime(rows["started_at"].dropna(), utc=True)
    return Origin(
        sweep=sweep,
        file=str(folders.shown(file)),
        sha256=sha256(file),
        rows=len(rows),
        trials=rows[unit].nunique(),
        failed=failed,
        commits=(*_texts(rows["commit"]), *(f"{NO_CHECKOUT} {version}" for version in wheel_versions(rows))),
        dirty=bool(rows["dirty"].fillna(False).astype(bool).any()),
        versions={name: v for text in _texts(rows["versions"]) for name, v in json.loads(text).items()},
        devices=_texts(rows[device]),
        threads=tuple(sorted({int(value) for value in rows["threads"].dropna()})),
        started=tuple(f"{time:%Y-%m-%d %H:%M} UTC" for time in (started.min(), started.max())) if len(started) else (),
        command=command,
        folder=folder,
    )


def _texts(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in values.dropna()}))


def parquet_bytes(stores: Sequence[Store]) -> bytes:
    """Returns a parquet file with the rows of several sweeps, one after another."""
    sink = pa.BufferOutputStream()
    table = pa.concat_tables([SCHEMA.empty_table(), *(read_rows(store.collected, SCHEMA) for store in stores)])
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    return bytes(sink.getvalue().to_pybytes())
