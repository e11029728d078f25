"""Trials to run together, with the place of their results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.execution.parts import PartFinder
from bench.results import folders
from bench.results.store import DAMAGED, Store
from bench.results.validity import INVALID, invalid_lines
from bench.specs.discovery import load_sweep
from bench.specs.parts import TrialPart, is_trained
from bench.specs.pilot import pilot_sweep
from bench.specs.profiles import get_profile
from bench.specs.sweep import Sweep, choose_parts
from bench.specs.trial import Trial

NAMED = 6  # models with pruners that a line lists


@dataclass(frozen=True)
class TrialSelection:
    """Trials of one sweep and profile.

    Attributes:
        title: Heading of messages and reports.
        results: Folder of all results.
        store: Results of the sweep in the profile.
        trials: Selected trials.
        collected: Trials that are collected into one table, among them the selected ones.
        patterns: {trial id: patterns whose rows are collected}; a trial that is not in it gives all.
        wholes: {id of a part: the trial of the sweep that it is a part of}.
    """

    title: str
    results: Path
    store: Store
    trials: tuple[Trial, ...]
    collected: tuple[Trial, ...]
    patterns: Mapping[str, Collection[str]] = field(default_factory=dict)
    wholes: Mapping[str, Trial] = field(default_factory=dict)

    def label(self, trial: Trial) -> str:
        """Returns the name of a trial, with what it has where it is a part of one of the sweep's."""
        whole = self.wholes.get(trial.id)
        if whole is None:
            return trial.label
        alone = ", one-shot alone" if is_trained(whole) and not is_trained(trial) else ""
        return f"{trial.label} at {', '.join(trial.patterns)}{alone}"

    def read_expected_top1(self, texts: Sequence[str]) -> dict[str, float]:
        """Returns {model: dense top-1 that the user expects of it, percent}.

        Args:
            texts: `PERCENT` for all models, or `MODEL=PERCENT`.

        Raises:
            UserError: If a text is of another form, or its model is not selected.
        """
        models = dict.fromkeys(trial.model for trial in self.trials)
        found: dict[str, float] = {}
        for text in texts:
            name, _, number = text.rpartition("=")
            try:
                percent = float(number)
            except ValueError:
                percent = -1.0
            if not 0 <= percent <= 100:
                raise UserError(f"cannot read --expect-top1 {text!r}: write PERCENT or MODEL=PERCENT, such as 72.2")
            if name and name not in models:
                raise UserError(
                    f"--expect-top1 {text}: no selected trial is of {name}: choose from {', '.join(models)}"
                )
            found |= dict.fromkeys([name] if name else models, percent)
        return found

    def missing(self, busy: Collection[str] = ()) -> tuple[Trial, ...]:
        """Returns the trials that are not finished, and not among the ids of those that are in a job."""
        return tuple(
            trial
            for trial in self.trials
            if trial.id not in busy and not self.store.is_finished(trial.id) and not self._is_busy_whole(trial, busy)
        )

    def _is_busy_whole(self, trial: Trial, busy: Collection[str]) -> bool:
        return bool(busy) and (whole := self.wholes.get(trial.id)) is not None and whole.id in busy

    def summary(self, todo: Sequence[Trial]) -> str:
        """Returns how many trials are done, in jobs and to run, in one line."""
        done = sum(self.store.is_finished(trial.id) for trial in self.trials)
        waiting = len(self.trials) - done - len(todo)
        in_jobs = f"{waiting} in jobs already, " if waiting else ""
        return f"{self.title}: {len(self.trials)} trials, {done} done, {in_jobs}{len(todo)} to run"

    def has_results(self) -> bool:
        """Returns whether any trial has rows."""
        return any(self.store.path(trial.id).exists() for trial in self.trials)

    def published(self) -> str | None:
        """Returns how many trials are published, in one line; None where none are, or not in the default folder."""
        found, file = folders.published(), f"{folders.profile_folder(self.store.profile)}/{self.store.sweep}.parquet"
        if self.results != folders.WORKING or found is None or not (found / file).exists():
            return None
        return folders.describe_source(found, file, "trial_id", "trial")

    def collect(self) -> CollectedResults:
        """Joins the rows of the trials that have some into one table on disk; trials that ran in parts become whole.

        Raises:
            UserError: If none has, or a file is of another schema.
        """
        selected = {trial.id for trial in self.trials}
        owners, patterns = {trial.id: trial for trial in self.collected}, self.patterns
        if not patterns:
            owners, patterns = self._join_parts(selected)
        rows = self.store.collect(owners, patterns)
        present = set(rows["trial_id"])
        missing = tuple(trial for trial in owners.values() if trial.id not in present)
        damaged = tuple(trial for trial in missing if self.store.status(trial.id) == DAMAGED)
        return CollectedResults(self, rows, missing, damaged, frozenset(selected))

    def _join_parts(self, selected: set[str]) -> tuple[dict[str, Trial], dict[str, Collection[str]]]:
        """Makes trials whole that ran in parts.

        Args:
            selected: Ids of the selected trials; those that become whole by them are added.

        Returns:
            The trials that the rows of the sweep are of, by id, and {trial id: patterns} of those that are parts.
        """
        finder = PartFinder(self.store, self.collected)
        owners, patterns = dict[str, Trial](), dict[str, Collection[str]]()
        for whole in self.collected:
            found = finder.cover(TrialPart(whole, whole))
            if found.joinable:
                self.store.join(whole.id, whole.recipe_text, found.joinable)
                selected |= {whole.id} if selected & set(found.joinable.values()) else set()
                owners[whole.id] = whole
                continue
            for source in found.partial:
                patterns[source.trial.id] = [*patterns.get(source.trial.id, ()), *source.patterns]
            owners |= {trial.id: trial for trial in (*found.trials, *(one.trial for one in found.one_shot))}
        return owners, patterns


@dataclass(frozen=True)
class CollectedResults:
    """Rows of trials in one table.

    Attributes:
        selection: The trials.
        rows: Rows of those that have some, as `bench.results.schema.ResultRow` describes them.
        missing: Trials without rows that can be read.
        damaged: Those of them whose files cannot be read.
        selected: Ids of the selected trials, and of those that have become whole by them.
    """

    selection: TrialSelection
    rows: pd.DataFrame
    missing: tuple[Trial, ...]
    damaged: tuple[Trial, ...]
    selected: frozenset[str]

    @cached_property
    def _selected(self) -> pd.DataFrame:
        return self.rows[self.rows["trial_id"].isin(self.selected)]

    def has_pruned(self) -> bool:
        """Returns whether any of the selected trials has the row of a pruned model."""
        rows = self._selected
        return bool((rows["status"].isin(["done", INVALID]) & (rows["phase"] != "dense")).any())

    def invalid(self) -> list[str]:
        """Returns a line for every pruner of the selected trials with invalid rows."""
        return invalid_lines(self._selected)

    def skips(self) -> str | None:
        """Returns a line about the patterns of the selected trials that were skipped; None where none was."""
        skipped = int((self._selected["status"] == "skipped").sum())
        total = sum(len(trial.patterns) for trial in self.selection.trials)
        path = self.selection.store.collected
        return f"skipped {skipped} of {total} patterns: the column error of {path} says why" if skipped else None

    def gaps(self) -> list[str]:
        """Returns a line about the missing trials, if there are some, and one for each damaged trial.

        Of the selected trials it names some; of others it gives the number.
        """
        store, lines = self.selection.store, []
        if wanted := [trial for trial in self.missing if trial.id in self.selected]:
            names = sorted({f"{trial.model}/{trial.pruner}" for trial in wanted})
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            total = len(self.selection.trials)
            lines.append(f"{store.collected} lacks {len(wanted)} of {total} trials: {', '.join(names[:NAMED])}{more}")
        if others := len(self.missing) - len(wanted):
            lines.append(f"{store.collected} has no rows yet of {others} trials of the sweep that were not selected")
        for trial in self.damaged:
            path = store.path(trial.id)
            lines.append(f"{path} ({trial.label}) cannot be read: run the sweep again to make it anew")
        return lines


def select_trials(
    sweep: Sweep | str,
    profile: str = "embedded",
    only: Iterable[str] = (),
    seeds: Sequence[int] = (),
    results: Path = folders.WORKING,
    finetune: bool = True,
    images: int | None = None,
) -> TrialSelection:
    """Selects trials of a sweep.

    Args:
        sweep: The sweep, its name, or its file `path/to/sweep.py`.
        profile: Name of the profile.
        only: Filters `key=value`, see `bench.specs.sweep.choose_parts`; values of one key are alternatives.
        seeds: Seeds to select; none for all.
        results: Folder of all results.
        finetune: Whether anything is trained.
        images: Number of images of a pilot, see `bench.specs.pilot`; None for the sweep itself.

    Raises:
        UserError: If the sweep, the profile, a model, a filter or a seed is unknown, or no trial matches.
    """
    loaded = load_sweep(sweep) if isinstance(sweep, str) else sweep
    loaded = loaded if images is None else pilot_sweep(loaded, profile, images)
    every = loaded.trials(profile)
    known = get_profile(profile)
    for name in dict.fromkeys(trial.model for trial in every):
        known.model(name)  # refuses unknown ones
    source = sweep if isinstance(sweep, str) else None
    store = Store(results, profile, loaded.name, source=source, pilot_images=images)
    finder = PartFinder(store, every)
    found = [finder.cover(part) for part in choose_parts(every, only, seeds, finetune)]
    trials = tuple({trial.id: trial for one in found for trial in one.trials}.values())
    wholes = {trial.id: one.wanted.whole for one in found for trial in one.trials if trial is not one.wanted.whole}
    pilot = f", pilot of {images} images" if images is not None else ""
    return TrialSelection(f"{loaded.name} ({profile}){pilot}", results, store, trials, every, wholes=wholes)
