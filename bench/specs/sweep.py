"""Sweeps: the trials behind one table or figure, and the choice among them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import field_validator, model_validator

from bench.core.config import Spec
from bench.core.errors import UserError
from bench.results.store import name_mistake
from bench.specs.trial import Trial, repetition

COMPARE, EXPORT = RESERVED = ("compare", "export")  # sweeps of the commands of these names


def grid(**axes: Any) -> tuple[Trial, ...]:
    """Returns the trials of a Cartesian product.

    A list is an axis, anything else a constant. An element of an axis that is a dict sets several fields at once; the
    axis' own name then does not matter. Later axes vary fastest.

    >>> [t.pruner for t in grid(sweep="s", profile="p", model="vit", patterns=("0.5",), pruner=["cap", "magnitude"])]
    ['cap', 'magnitude']
    """
    choices = [
        [(key, value) for value in (values if isinstance(values, list) else [values])] for key, values in axes.items()
    ]
    trials = []
    for combination in itertools.product(*choices):
        fields: dict[str, Any] = {}
        for key, value in combination:
            fields |= value if isinstance(axes[key], list) and isinstance(value, dict) else {key: value}
        trials.append(Trial(**fields))
    return tuple(trials)


class Sweep(Spec):
    """The trials behind one table or figure of the paper, for every profile.

    Attributes:
        name: Name, which is also that of the results: letters, digits, `_` and `-`, at most 64 of them.
        title: Content in one line.
        profiles: {profile: trials}.
        tuning: Whether settings are chosen by its results; all its trials are then evaluated on validation images.
    """

    name: str
    title: str
    profiles: dict[str, tuple[Trial, ...]]
    tuning: bool = False

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
        if mistake := name_mistake(name):
            raise ValueError(mistake)
        return name

    @model_validator(mode="after")
    def _own_trials(self) -> Sweep:
        for profile, trials in self.profiles.items():
            for trial in trials:
                if (trial.sweep, trial.profile) != (self.name, profile):
                    raise ValueError(f"a trial of {trial.sweep}/{trial.profile} stands in {self.name}/{profile}")
            seen: set[str] = set()
            for trial in trials:
                if (values := trial.model_dump_json()) in seen:
                    raise ValueError(f"the trial {trial.label} with {trial.pruner_options} stands twice in {profile}")
                seen.add(values)
        return self

    @model_validator(mode="after")
    def _one_split(self) -> Sweep:
        for trial in (trial for trials in self.profiles.values() for trial in trials):
            if self.tuning and trial.evaluation_split != "validation":
                raise ValueError(
                    f"{self.name} chooses settings, but its trial {trial.label} is evaluated on "
                    f"{trial.evaluation_split}: give its trials evaluation_split='validation'"
                )
        for profile, trials in self.profiles.items():
            if len({trial.evaluation_split for trial in trials}) > 1:
                raise ValueError(f"trials of {self.name} in {profile} are evaluated on two splits: make it two sweeps")
        return self

    def trials(self, profile: str) -> tuple[Trial, ...]:
        """Returns the trials of a profile.

        Raises:
            UserError: If the sweep has no such profile.
        """
        if profile not in self.profiles:
            raise UserError(f"sweep {self.name!r} has no profile {profile!r}: choose from {', '.join(self.profiles)}")
        return self.profiles[profile]


FILTERS = ("model", "family", "pruner")


def filter_trials(
    trials: Sequence[Trial], only: Iterable[str] = (), seeds: Sequence[int] | None = None
) -> tuple[Trial, ...]:
    """Returns the trials that match all filters.

    Args:
        trials: The trials of one profile.
        only: Filters `key=value`; several values for one key are alternatives.
        seeds: The seeds to keep; all by default.

    Raises:
        UserError: If a key is unknown, a value matches no trial, or a seed stands twice.
    """

    def value_of(trial: Trial, key: str) -> str:
        return trial.resolve().model.family if key == "family" else getattr(trial, key)

    only = tuple(only)
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        if key not in FILTERS or not value:
            raise UserError(f"cannot filter by {text!r}: write key=value with a key of {', '.join(FILTERS)}")
        known = sorted({value_of(trial, key) for trial in trials})
        if value not in known:
            raise UserError(f"no trial has {key}={value}: choose from {', '.join(known)}")
        wanted.setdefault(key, set()).add(value)
    if mistake := repetition("--seeds", seeds or ()):
        raise UserError(mistake)
    known_seeds = sorted({trial.seed for trial in trials})
    if stray := sorted(set(seeds or ()) - set(known_seeds)):
        raise UserError(f"the sweep has no seed {stray[0]}: choose from {', '.join(map(str, known_seeds))}")
    chosen = tuple(
        trial
        for trial in trials
        if all(value_of(trial, key) in values for key, values in wanted.items()) and (not seeds or trial.seed in seeds)
    )
    if not chosen:
        raise UserError(f"no trial matches {' '.join(only)}" + (f" with seeds {seeds}" if seeds else ""))
    return chosen
