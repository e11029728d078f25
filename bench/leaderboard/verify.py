"""Verification of a submission: its files, the protocol, the contract, and a sample of its cells run again."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core import files, provenance
from bench.core.errors import UserError
from bench.execution.contract import pruner_failures
from bench.execution.rerun import DIFFERS, EXACT, compared
from bench.results.submissions import (
    PROTOCOL,
    ROWS,
    SETTINGS,
    VERIFIED,
    RerunCell,
    Submission,
    SubmittedPruner,
    Verification,
)
from bench.results.tuned import CONFIGURATIONS
from bench.specs.comparison import Comparison, plan
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.runner import run_trial

Key = tuple[str, str, int]  # model, pattern, seed


@dataclass(frozen=True)
class VerifiedPoint:
    """One thing that was checked.

    Attributes:
        name: What was checked.
        failure: Why it does not hold; None where it does.
        cell: Cell that was run again; None for anything else.
    """

    name: str
    failure: str | None = None
    cell: RerunCell | None = None

    def line(self) -> str:
        """Returns the point in a line."""
        told = self.failure or (self.cell.agreement if self.cell is not None else "")
        return f"{'FAILED' if self.failure else 'passed':8} {self.name}{f': {told}' if told else ''}"


def verify_submission(folder: Path, cells: int = 2, draw: int = 0, device: str = "cpu") -> Iterator[VerifiedPoint]:
    """Checks a submission point by point, and records it as verified if all hold.

    The pruner's file is run. The record, `verified.json`, holds for these very files; one from before is removed.

    Args:
        folder: Folder of the submission.
        cells: Cells (model, pattern, seed) of the submitted pruner to run again; of each of the others one.
        draw: Number that tells one sample of cells from another.
        device: Torch device.

    Raises:
        UserError: If the folder is no submission, or its settings or rows cannot be read.
    """
    if cells < 1:
        raise UserError(f"--cells {cells}: at least one cell is run again")
    submission = Submission.read(folder)
    (folder / VERIFIED).unlink(missing_ok=True)
    found = []
    for point in _points(submission, cells, draw, device):
        found.append(point)
        yield point
        if point.failure is not None and point.cell is None:
            return  # what follows would be of other files, or of a pruner that breaks its contract
    if all(point.failure is None for point in found):
        record = Verification(
            settings_sha256=files.sha256(folder / SETTINGS),
            suite=importlib.metadata.version("cap-bench"),
            commit=provenance.commit(),
            date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
            cells=tuple(point.cell for point in found if point.cell is not None),
        )
        with files.atomic_write(folder / VERIFIED) as temporary:
            temporary.write_text(record.model_dump_json(indent=1) + "\n")


def _points(submission: Submission, cells: int, draw: int, device: str) -> Iterator[VerifiedPoint]:
    settings = submission.settings
    changed = submission.changed_files()
    yield VerifiedPoint("files", f"{', '.join(changed)} is not what was submitted" if changed else None)
    other = f"version {settings.protocol}, today's is {PROTOCOL}: submit again"
    yield VerifiedPoint("protocol", other if settings.protocol != PROTOCOL else None)
    yield VerifiedPoint("tuning budget", _over_budget(submission))
    planned = _planned(submission)
    yield VerifiedPoint("rows", _wrong_rows(submission, planned))
    broken = [] if settings.file is None else pruner_failures(planned.new)
    yield VerifiedPoint("contract", "; ".join(broken) or None)
    yield from _rerun_sample(submission, planned, cells, draw, device)


def _over_budget(submission: Submission) -> str | None:
    """Returns why the search for settings was not that of the protocol."""
    settings = submission.settings
    if settings.configurations > CONFIGURATIONS:
        return f"{settings.configurations} settings were tried for each model, the protocol allows {CONFIGURATIONS}"
    if settings.configurations > 1 and settings.chosen_on != "validation":
        return f"settings were chosen on {settings.chosen_on}, the protocol says validation"
    return None


def _planned(submission: Submission) -> Comparison:
    """Returns the comparison that these settings stand for, as this version of the suite makes it."""
    settings = submission.settings
    new, *others = settings.pruners
    return plan(submission.pruner, new.options, [one.pruner for one in others], settings.models, settings.patterns,
                settings.seeds, settings.finetune, settings.profile)  # fmt: skip


def _wrong_rows(submission: Submission, planned: Comparison) -> str | None:
    """Returns what the rows lack of the comparison, or have beside it."""
    rows, settings = submission.rows, submission.settings
    known = {(one.pruner, one.options_text) for one in settings.pruners}
    if stray := set(zip(rows["pruner"], rows["pruner_options"], strict=True)) - known:
        return f"rows of {min(stray)[0]} have other options than the settings"
    for ours, theirs in zip(planned.pruners[1:], settings.pruners[1:], strict=True):
        if ours.options != theirs.options:
            return f"{theirs.label} ran with other options than those of the profile today"
    if undone := sorted(set(rows["status"]) - {"done", "skipped"}):
        return f"rows are {', '.join(undone)}"
    every = planned.profile.splits["test"]
    measured = rows[rows["status"] == "done"]
    if (measured["n_images"] != every).any() or set(measured["split"].fillna("test")) != {"test"}:
        return f"rows are not of all {every:,} test images"
    wanted = set(itertools.product(settings.models, planned.patterns, settings.seeds))
    for one in settings.pruners:
        if lacking := wanted - _cells(rows[rows["pattern"].notna()], one):
            return f"{one.label} lacks {len(lacking)} of {len(wanted)} cells"
    return None


def _cells(rows: pd.DataFrame, pruner: SubmittedPruner) -> set[Key]:
    """Returns the cells of a pruner among rows."""
    own = rows[(rows["pruner"] == pruner.pruner) & (rows["pruner_options"] == pruner.options_text)]
    cells = zip(own["model"], own["pattern"], own["seed"], strict=True)
    return {(model, pattern, int(seed)) for model, pattern, seed in cells}


def _rerun_sample(
    submission: Submission, planned: Comparison, cells: int, draw: int, device: str
) -> Iterator[VerifiedPoint]:
    """Runs a sample of cells again; the files and a number decide which."""
    generator = random.Random(f"{submission.settings.sha256[ROWS]}/{draw}")
    measured = submission.rows[submission.rows["status"] == "done"]
    for ours, theirs in zip(planned.pruners, submission.settings.pruners, strict=True):
        there = sorted(_cells(measured[measured["pattern"].notna()], theirs))
        count = min(cells if theirs is submission.settings.pruners[0] else 1, len(there))
        for cell in sorted(generator.sample(there, count)):
            trial = next(one for one in planned.trials if (one.model, one.seed) == (cell[0], cell[2])
                         and (one.pruner, one.pruner_options) == (ours.name, ours.options)
                         and cell[1] in one.patterns)  # fmt: skip
            stored = measured[(measured["model"] == cell[0]) & (measured["pattern"] == cell[1])
                              & (measured["seed"] == cell[2]) & (measured["pruner"] == theirs.pruner)
                              & (measured["pruner_options"] == theirs.options_text)]  # fmt: skip
            yield _rerun(theirs.label, cell, trial, stored, device)


def _rerun(label: str, cell: Key, trial: Trial, stored: pd.DataFrame, device: str) -> VerifiedPoint:
    """Runs one cell again and compares."""
    model, pattern, seed = cell
    name = f"{label} on {model} at {pattern}, seed {seed}"
    values = {**trial.model_dump(), "patterns": (pattern,), "finetune_at": (pattern,) if trial.finetune_at else ()}
    try:
        made = [dataclasses.asdict(row) for row in run_trial(Trial(**values), config=ExecutionConfig(device)).rows]
        new, reason = {row["phase"]: row for row in made if row["pattern"] == pattern}, "no such row"
    except (Exception, SystemExit) as error:  # noqa: BLE001  a submitted file may raise anything
        new, reason = {}, f"failed: {type(error).__name__}: {error}"
    outcomes = [compared(row, new.get(row["phase"]), pattern, row["phase"], reason) for row in _records(stored)]
    agreements = [one.agreement for one in outcomes]
    worst = next((one for one in (DIFFERS, *agreements) if one in agreements and one != EXACT), EXACT)
    told = RerunCell(label=label, model=model, pattern=pattern, seed=seed, agreement=worst)
    wrong = [one.line() for one in outcomes if one.agreement == DIFFERS]
    return VerifiedPoint(name, "; ".join(wrong) or None, told)


def _records(rows: pd.DataFrame) -> Sequence[Mapping[str, Any]]:
    """Returns rows by their columns, with None for what is missing."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
