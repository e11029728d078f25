"""Rows of trials and of parts of them: what either has is not run again for the other."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.execution.reuse import PatternSource
from bench.results.store import FinishedRows, Store
from bench.specs.parts import TrialPart, is_trained, part_of
from bench.specs.trial import Trial


@dataclass(frozen=True)
class Coverage:
    """Where the rows of a trial, or of a part of it, are or are to be.

    Attributes:
        wanted: What is wanted of which trial.
        given: Finished trials, each with the patterns that are taken from it.
        left: Trial of all else, the whole itself where it has no parts; None where nothing is left.
        one_shot: Finished one-shot rows of patterns whose fine-tune is left.
    """

    wanted: TrialPart
    given: tuple[PatternSource, ...]
    left: Trial | None
    one_shot: tuple[PatternSource, ...] = ()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Trials that have the rows, and the one that is left to run."""
        return (*(source.trial for source in self.given), *([self.left] if self.left is not None else []))

    @property
    def partial(self) -> tuple[PatternSource, ...]:
        """Trials of which not all rows are taken."""
        return tuple(one for one in (*self.given, *self.one_shot) if one.trial != self.wanted.whole)

    @property
    def joinable(self) -> dict[str, str]:
        """{pattern: id of the trial that has it}, in order, of a whole trial that ran in parts; empty for others."""
        whole = self.wanted.whole
        if self.left is not None or self.wanted.trial != whole or self.given[0].trial == whole:
            return {}
        owners = {pattern: source.trial.id for source in self.given for pattern in source.patterns}
        return {pattern: owners[pattern] for pattern in whole.patterns}


class PartFinder:
    """Finished trials of a sweep that are parts of the trials it has.

    Args:
        store: Results of the sweep.
        every: All trials of the sweep.
    """

    def __init__(self, store: Store, every: Sequence[Trial]) -> None:
        self._store, self._every = store, every

    def cover(self, wanted: TrialPart) -> Coverage:
        """Returns where the rows of a trial, or of a part of it, are or are to be."""
        whole, trial = wanted.whole, wanted.trial
        if trial is whole and not self._strays_of(whole):
            return Coverage(wanted, (), whole)
        if self._store.is_finished(whole.id):
            return Coverage(wanted, (PatternSource(whole, trial.patterns),), None)
        given: list[PatternSource] = []
        one_shot: list[PatternSource] = []
        left = trial.patterns
        for found in self._finished_parts(whole):
            at = tuple(p for p in left if p in found.patterns and _has_all(found, trial, p))
            if at:
                given.append(PatternSource(found, at))
                left = tuple(pattern for pattern in left if pattern not in at)
        if not left:
            return Coverage(wanted, tuple(given), None)
        for found in self._finished_parts(whole):
            if at := tuple(p for p in left if p in found.patterns and p not in _patterns(one_shot)):
                one_shot.append(PatternSource(found, at))
        return Coverage(wanted, tuple(given), part_of(trial, left), tuple(one_shot))

    def _finished_parts(self, whole: Trial) -> Iterator[Trial]:
        """Yields the finished parts of a trial, those with most patterns first."""
        for rows in self._strays_of(whole):
            for trained in (True, False) if is_trained(whole) else (True,):
                part = part_of(whole, rows.patterns, trained)
                if part.id == rows.trial_id:
                    yield part
                    break

    def _strays_of(self, whole: Trial) -> Sequence[FinishedRows]:
        key = (whole.model, whole.pruner, json.dumps(whole.pruner_options, sort_keys=True), whole.seed)
        return self._strays.get(key, ()) if self._strays else ()

    @cached_property
    def _strays(self) -> Mapping[tuple[str, str, str, int], Sequence[FinishedRows]]:
        """Finished trials in the folder that are none of the sweep's, by what tells their wholes from most others."""
        found: dict[tuple[str, str, str, int], list[FinishedRows]] = {}
        for rows in self._store.finished_trials({trial.id for trial in self._every}):
            found.setdefault((rows.model, rows.pruner, rows.pruner_options, rows.seed), []).append(rows)
        return {key: sorted(rows, key=lambda one: -len(one.patterns)) for key, rows in found.items()}


def _patterns(sources: Collection[PatternSource]) -> set[str]:
    return {pattern for source in sources for pattern in source.patterns}


def _has_all(part: Trial, wanted: Trial, pattern: str) -> bool:
    """Returns whether a part has all that is wanted at a pattern: the fine-tune, too, and INT8."""
    tuned = pattern in part.finetune_at or pattern not in wanted.finetune_at
    return tuned and (part.quantization is not None or wanted.quantization is None)
