"""Reuse of stored results by pattern: rows of one-shot pruning do not depend on the trial's other patterns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results.store import FinishedRows, Store
from bench.specs.trial import Trial

Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class PatternSource:
    """A trial that gives some patterns' rows.

    Attributes:
        trial: The trial.
        patterns: Patterns whose rows are taken from it; it may have others.
    """

    trial: Trial
    patterns: tuple[str, ...]


def sources(store: Store, trials: Sequence[Trial]) -> Iterator[PatternSource]:
    """Yields where the rows of trials are, or are to be: those of other trials are taken where only patterns differ.

    That nothing else differs is told by the id: it is the hash of all values and files. What no finished trial has is
    left to a trial of these patterns alone.

    Args:
        store: Results of the trials' sweep.
        trials: One-shot trials that are fine-tuned after every pattern or after none.
    """
    whole = {trial.id for trial in trials if store.is_finished(trial.id)}
    stored: dict[Key, list[FinishedRows]] = {}
    for one in store.finished_trials() if len(whole) < len(trials) else ():
        stored.setdefault((one.model, one.pruner, one.pruner_options, one.seed), []).append(one)
    for trial in trials:
        left = trial.patterns
        if trial.id not in whole:
            key = (trial.model, trial.pruner, json.dumps(trial.pruner_options, sort_keys=True), trial.seed)
            known = sorted(stored.get(key, ()), key=lambda one: -len(set(one.patterns) & set(trial.patterns)))
            for one in known:
                given = tuple(pattern for pattern in left if pattern in one.patterns)
                if given and (other := _with_patterns(trial, one.patterns)).id == one.trial_id:
                    left = tuple(pattern for pattern in left if pattern not in given)
                    yield PatternSource(other, given)
        if left:
            yield PatternSource(_with_patterns(trial, left), left)


def _with_patterns(trial: Trial, patterns: tuple[str, ...]) -> Trial:
    """Returns a trial at other patterns, fine-tuned after all of them if it was fine-tuned after its own."""
    if patterns == trial.patterns:
        return trial
    return trial.model_copy(update={"patterns": patterns, "finetune_at": patterns if trial.finetune_at else ()})
