"""Publication of chosen settings: the choices, a table of them, and the rows that they rest on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Hashable
from functools import partial
from pathlib import Path

from bench.core.errors import UserError
from bench.execution.tuning import choose, select_tuning
from bench.publication.changes import Value, describe_changes
from bench.publication.checkout import Checkout
from bench.publication.publication import Publication
from bench.publication.sweeps import check_done
from bench.reports.tuning import markdown
from bench.results.folders import PUBLISHED, TUNING, check_working, profile_folder
from bench.results.store import FINISHED, Store
from bench.results.tuned import TunedSettings, read_file, tuned_file
from bench.results.validity import INVALID
from bench.specs.sweep import Sweep

FAILED = "failed"


def tuning_publication(profile: str, results: Path, checkout: Checkout, sweep: Sweep | None = None) -> Publication:
    """Returns the publication of the settings that the sweep `tuning` chooses.

    Args:
        profile: Name of the profile.
        results: Working folder.
        checkout: Checkout to publish in.
        sweep: The sweep; by default the one of this package.

    Raises:
        UserError: If trials have neither run nor failed, a result breaks its pattern, or the rows are not of the
            checkout's code.
    """
    check_working(results)
    selection = select_tuning(profile, results=results, sweep=sweep)
    check_done(selection, (*FINISHED, FAILED))  # settings that a pruner cannot run with are an outcome, too
    store, rows = selection.store, selection.collect().rows
    if (broken := rows[(rows["violations"].fillna(0) > 0) | (rows["status"] == INVALID)]["trial_id"].nunique()) > 0:
        raise UserError(f"{selection.title}: {broken} trials break their pattern: the column violations says where")
    again = f"remove {store.folder} and run {store.command('run') or 'capbench tune'} again"
    commit = checkout.check(rows["commit"].unique(), rows["dirty"].unique(), again)
    tuned = choose(selection.trials, rows)
    old = read_file(tuned_file(profile, checkout.root / PUBLISHED))
    title = f"{selection.title}: {len(rows)} rows of {len(selection.trials)} trials, commit {commit[:12]}"
    failed = rows[rows["status"] == FAILED]["trial_id"].nunique()
    told = [f"{failed} of {len(selection.trials)} trials failed: their settings are not chosen"] if failed else []
    changes = (title, *told, *describe_changes(_means(old), _means(tuned), "mean top-1"))
    names = re.compile(rf"{TUNING}\.parquet|tuned\.(json|md)")
    return Publication(checkout.root, profile_folder(profile), names, changes, partial(_render, store, tuned))


def _means(tuned: TunedSettings | None) -> dict[Hashable, Value]:
    """Returns the mean top-1 of the chosen settings."""
    pruners = tuned.pruners if tuned is not None else ()
    return {(one.model, one.pruner): Value(f"{one.model} {one.pruner}", one.best.mean) for one in pruners}


def _render(store: Store, tuned: TunedSettings, results: Path, into: Path | None) -> None:
    """Writes what is published to a folder of results."""
    if into is not None:
        raise UserError(f"{TUNING} has no table for a document: leave --into out")
    path = tuned_file(tuned.profile, results)
    tuned.write(path)
    path.with_suffix(".md").write_text(markdown(tuned))
    shutil.copy(store.collected, path.with_name(f"{TUNING}.parquet"))
