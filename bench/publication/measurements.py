"""Publication of measured times: those of inference, and the benchmarks of the pruning core."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import UserError
from bench.latency.engines import ENGINES
from bench.latency.run import BATCH_SIZES, MODELS
from bench.publication.changes import Value, describe_changes
from bench.publication.checkout import Checkout
from bench.publication.publication import Publication
from bench.reports import kernels
from bench.reports.latency.report import LatencyReport
from bench.results.folders import PUBLISHED, check_working
from bench.results.timings import TIMED, Timings

SPEEDUP, BENCHMARKS = MEASUREMENTS = ("speedup", "benchmarks")
TABLE1 = "embedded/table1.parquet"  # has the accuracy that the speed-up is set against


def speedup_publication(results: Path, checkout: Checkout) -> Publication:
    """Returns the publication of what `nox -s reproduce_speedup` measured.

    Args:
        results: Working folder.
        checkout: Checkout to publish in.

    Raises:
        UserError: If a model, batch size or engine was not timed, or the rows are not of the checkout's code.
    """
    check_working(results)
    timings, command = Timings(results, SPEEDUP), "nox -s reproduce_speedup"
    rows = timings.collect()
    timed = rows[rows["status"] == TIMED].groupby(["model", "batch"])["engine"].agg(set).to_dict()
    cells = [(model.rpartition("/")[2], batch) for model in MODELS for batch in BATCH_SIZES]
    lacking = [cell for cell in cells if set(ENGINES) - timed.get(cell, set())]
    if lacking or (rows["status"] != TIMED).any():
        names = ", ".join(f"{model} at batch {batch}" for model, batch in lacking) or "an engine failed"
        raise UserError(f"speedup: not all engines are timed in {len(cells)} cells ({names}): {command}")
    again = f"remove {timings.folder} and run {command} again"
    commit = checkout.check(rows["commit"].unique(), rows["dirty"].unique(), again)
    published = Timings(checkout.root / PUBLISHED, SPEEDUP)
    old = published.read() if published.collected.exists() else pd.DataFrame()
    title = f"speedup: {len(rows)} rows of {rows['cell'].nunique()} cells, commit {commit[:12]}"
    changes = (title, *describe_changes(_times(old), _times(rows), "median seconds", relative=True))
    render = partial(_render_speedup, timings, checkout)
    return Publication(checkout.root, SPEEDUP, re.compile(r"speedup\.(parquet|md|csv|png|svg)"), changes, render)


def _times(rows: pd.DataFrame) -> dict[Hashable, Value]:
    """Returns the median time of each row."""
    return {
        (row.model, row.batch, row.threads, row.engine, row.sparsity_target): Value(
            f"{row.model} batch {row.batch} {row.engine} at {100 * row.sparsity_target:g} %",
            float(np.median(row.seconds)) if row.seconds is not None else None,
        )
        for row in rows.itertuples()
    }


def _render_speedup(timings: Timings, checkout: Checkout, results: Path, into: Path | None) -> None:
    """Writes what is published of the speed-up to a folder of results, and its table to a document."""
    copy, table1 = Timings(results, timings.name), checkout.root / PUBLISHED / TABLE1
    shutil.copy(timings.collected, copy.collected)
    if table1.exists():
        (results / TABLE1).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table1, results / TABLE1)
    LatencyReport(copy, results).write(into)


def benchmarks_publication(results: Path, checkout: Checkout) -> Publication:
    """Returns the publication of what `nox -s benchmark` measured.

    Args:
        results: Working folder.
        checkout: Checkout to publish in.

    Raises:
        UserError: If there are no measurements, one that is published is lacking, or they are not of the checkout's
            code.
    """
    check_working(results)
    path, published = results / kernels.FILE, checkout.root / PUBLISHED / kernels.FILE
    kernels.read(path)
    content = json.loads(path.read_text())
    old = _medians(json.loads(published.read_text())) if published.exists() else {}
    new = _medians(content)
    if lacking := [str(name) for name in old if name not in new]:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(
            f"benchmarks: {lacking[0]}{more} are published but were not measured: nox -s benchmark; to leave them out "
            f"for good, remove {published} first"
        )
    made_by = content["commit_info"]
    commit = checkout.check([made_by["id"]], [made_by["dirty"]], "run nox -s benchmark again")
    title = f"benchmarks: {len(new)} rows, commit {commit[:12]}"
    changes = (title, *describe_changes(old, new, "median seconds", relative=True))
    names = re.compile(r"core\.(json|md|png|svg)")
    return Publication(checkout.root, BENCHMARKS, names, changes, partial(_render_benchmarks, path))


def _medians(content: dict[str, Any]) -> dict[Hashable, Value]:
    """Returns the median time of each benchmark."""
    return {one["fullname"]: Value(one["fullname"], one["stats"]["median"]) for one in content["benchmarks"]}


def _render_benchmarks(path: Path, results: Path, into: Path | None) -> None:
    """Writes what is published of the benchmarks to a folder of results, and their table to a document."""
    copy = results / kernels.FILE
    shutil.copy(path, copy)
    kernels.report(copy, into)
