"""A submission made from a finished comparison."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench.core.errors import UserError
from bench.core.files import sha256
from bench.reports.page.comparison import find_comparison, read_document
from bench.results import folders
from bench.results.labels import control_rows
from bench.results.store import Store
from bench.results.submissions import (
    FOLDER,
    METHOD,
    PREDICTIONS,
    PROTOCOL,
    ROWS,
    SETTINGS,
    Settings,
    Submission,
    SubmittedPruner,
)
from bench.results.tuned import CONFIGURATIONS


def submit_comparison(
    comparison: str,
    method: str,
    authors: str = "",
    source: str = "",
    configurations: int = 1,
    chosen_on: Literal["none", "validation"] = "none",
    profile: str = "embedded",
    results: Path = folders.WORKING,
    folder: Path = FOLDER,
) -> Submission:
    """Writes the submission of a comparison's new pruner: its file, its settings and all rows.

    Args:
        comparison: Name of the comparison, that of its files, or the path of one of them.
        method: Name of the method, that of the submission's folder.
        authors: Names of the submitters.
        source: Paper or page that describes the method.
        configurations: Settings of the pruner that were tried for each model.
        chosen_on: Split that they were chosen on; `none` where one was tried.
        profile: Name of the profile.
        results: Folder of all results.
        folder: Folder of all submissions.

    Raises:
        UserError: If the comparison is missing, not whole or not by the protocol, or the method has no valid name.
    """
    if not METHOD.fullmatch(method):
        raise UserError(f"--method {method!r} is no name: write lower-case letters, digits, _ and -, at most 40")
    _check_budget(configurations, chosen_on)
    store = find_comparison(comparison, profile, results)
    document, rows = read_document(store), store.read()
    _check_rows(rows, store.collected)
    new = document["pruners"][0]
    settings = {
        "method": method,
        "authors": authors,
        "source": source,
        "protocol": PROTOCOL,
        "suite": importlib.metadata.version("cap-bench"),
        "profile": store.profile,
        "pruners": tuple(
            SubmittedPruner(label=one["label"], pruner=one["pruner"], options=one["options"])
            for one in document["pruners"]
        ),
        "file": new["source"] if new["code"] else None,
        "models": _unique(rows["model"]),
        "patterns": _unique(rows[~control_rows(rows)]["pattern"]),
        "seeds": tuple(sorted(int(seed) for seed in set(rows["seed"]))),
        "finetune": "finetuned" in set(rows["phase"]),
        "configurations": configurations,
        "chosen_on": chosen_on,
    }
    return _write(settings, new, store, folder / method)


def _check_budget(configurations: int, chosen_on: str) -> None:
    """Refuses a search beyond the protocol's."""
    if not 1 <= configurations <= CONFIGURATIONS:
        raise UserError(f"--configurations {configurations}: the protocol allows 1 to {CONFIGURATIONS} for each model")
    if (configurations > 1) != (chosen_on == "validation"):
        raise UserError("settings are chosen on validation: give --configurations N --chosen-on validation, or neither")


def _check_rows(rows: pd.DataFrame, path: Path) -> None:
    """Refuses rows that have no result, or that nobody could make again."""
    if undone := sorted(set(rows["status"]) - {"done", "skipped"}):
        raise UserError(f"{path} has rows that are {', '.join(undone)}: a comparison is submitted whole")
    if rows["dirty"].fillna(False).astype(bool).any():
        raise UserError(f"{path} has rows of code that was not committed, which nobody could make again")
    if (splits := set(rows["split"].fillna("test"))) != {"test"}:
        raise UserError(f"{path} has rows on {', '.join(sorted(splits))}: submitted are rows on test alone")


def _unique(column: pd.Series) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.dropna()))


def _write(settings: dict[str, Any], new: dict[str, Any], store: Store, folder: Path) -> Submission:
    """Writes the files of a submission beside and renames their folder, which replaces an older one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".submit.", dir=folder.parent) as temporary:
        made = Path(temporary, folder.name)
        made.mkdir()
        shutil.copy(store.collected, made / ROWS)
        if store.collected_predictions.exists():
            shutil.copy(store.collected_predictions, made / PREDICTIONS)
        if settings["file"] is not None:
            (made / settings["file"]).write_bytes(new["code"].encode())
            if sha256(made / settings["file"]) != new["sha256"]:
                raise UserError(f"the text of {new['source']} is not the file that ran: run capbench compare again")
        sums = {path.name: sha256(path) for path in sorted(made.iterdir())}
        text = json.dumps(Settings(**settings, sha256=sums).model_dump(mode="json"), indent=1)
        (made / SETTINGS).write_text(text + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return Submission.read(folder)
