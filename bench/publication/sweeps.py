"""Publication of a sweep: rows, layers, tables and figures."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Collection, Hashable
from functools import partial
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.execution.selection import TrialSelection, select_trials
from bench.publication.changes import Value, describe_changes
from bench.publication.checkout import Checkout
from bench.publication.publication import Publication
from bench.reports.sweep.report import SweepReport
from bench.results.folders import PUBLISHED, check_working
from bench.results.store import FINISHED, Store
from bench.results.validity import INVALID
from bench.specs.sweep import Sweep

IDENTITY = ["trial_id", "pattern", "phase", "epoch"]  # of a row


def sweep_publication(sweep: Sweep | str, profile: str, results: Path, checkout: Checkout) -> Publication:
    """Returns the publication of a sweep's results.

    Args:
        sweep: The sweep, or its name.
        profile: Name of the profile.
        results: Working folder.
        checkout: Checkout to publish in.

    Raises:
        UserError: If trials are not done, a result breaks its pattern, or the rows are not of the checkout's code.
    """
    check_working(results)
    selection = select_trials(sweep, profile, results=results)
    store = selection.store
    check_done(selection)
    rows = selection.collect().rows
    if (broken := rows[(rows["violations"].fillna(0) > 0) | (rows["status"] == INVALID)]["trial_id"].nunique()) > 0:
        raise UserError(f"{selection.title}: {broken} trials break their pattern: the column violations says where")
    again = f"remove {store.folder} and run {store.command('run') or 'the sweep'} again"
    commit = checkout.check(rows["commit"].unique(), rows["dirty"].unique(), again)
    published = Store(checkout.root / PUBLISHED, store.profile, store.sweep)
    old = published.read() if published.collected.exists() else pd.DataFrame()
    title = f"{selection.title}: {len(rows)} rows of {len(selection.trials)} trials, commit {commit[:12]}"
    changes = (title, *describe_changes(_values(old), _values(rows), "top-1"))
    return Publication(checkout.root, store.profile, _names(store), changes, partial(_render, store))


def redrawn_publication(sweep: str, profile: str, checkout: Checkout) -> Publication:
    """Returns the publication of rows that are published already, with tables and figures as this code makes them.

    Args:
        sweep: Name of the sweep.
        profile: Name of the profile.
        checkout: Checkout to publish in.

    Raises:
        UserError: If nothing is published of the sweep.
    """
    store = Store(checkout.root / PUBLISHED, profile, sweep)
    title = f"{store.sweep} ({store.profile})"
    if not store.collected.exists():
        raise UserError(f"{title}: nothing is published that could be drawn anew")
    changes = (f"{title}: tables and figures anew, of the published rows as they are",)
    return Publication(checkout.root, store.profile, _names(store), changes, partial(_render, store))


def _names(store: Store) -> re.Pattern[str]:
    """Returns the names of all files that are published of a sweep."""
    return re.compile(
        rf"{re.escape(store.sweep)}((_nm)?(_all)?(_loss|_size|_ranks|_layers)?\.(png|svg)|(\.(layers|predictions))?\.parquet|\.md|\.csv)"
    )


def check_done(selection: TrialSelection, accepted: Collection[str] = FINISHED) -> None:
    """Refuses a sweep with trials that are not done.

    Args:
        selection: The trials.
        accepted: Statuses of trials that are.

    Raises:
        UserError: If one has another.
    """
    store = selection.store
    undone = [trial for trial in selection.trials if store.status(trial.id) not in accepted]
    if undone:
        counts = Counter(store.status(trial.id) or "to run" for trial in undone)
        listed = ", ".join(f"{count} {status}" for status, count in counts.items())
        raise UserError(
            f"{selection.title}: {len(undone)} of {len(selection.trials)} trials are not done ({listed}): "
            f"{store.command('run') or 'run the sweep'}"
        )


def _values(rows: pd.DataFrame) -> dict[Hashable, Value]:
    """Returns the top-1 of each row."""
    return {
        tuple(None if pd.isna(part) else part for part in (getattr(row, name) for name in IDENTITY)): Value(
            f"{row.model} {row.pruner} seed {row.seed} {row.phase}" + (f" {row.pattern}" if row.pattern else ""),
            None if pd.isna(row.top1) else float(row.top1),
        )
        for row in rows.itertuples()
    }


def _render(store: Store, results: Path, into: Path | None) -> None:
    """Writes what is published of a sweep to a folder of results, and its table to a document."""
    copy = Store(results, store.profile, store.sweep)
    shutil.copy(store.collected, copy.collected)
    shutil.copy(store.collected_layers, copy.collected_layers)
    if store.collected_predictions.exists():
        shutil.copy(store.collected_predictions, copy.collected_predictions)
    report = SweepReport(copy, results)
    report.write(into)
    report.draw()
