"""Sweeps: the trials behind one table or figure, and the choice among them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import field_validator, model_validator

import cap
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.results.store import name_mistake
from bench.specs.parts import TrialPart, part_of, patterns_at
from bench.specs.trial import Trial, repetition

COMPARE, EXPORT = RESERVED = ("compare", "export")  # sweeps of the commands of these names


def grid(**axes: Any) -> tuple[Trial, ...]:
    """Returns the trials of a Cartesian product.

    A list is an axis, anything else a constant. An element of an axis that is a dict sets several fields at once; the
    axis' own name then does not matter. Later axes vary fastest.

    Examples:
        >>> common = {"sweep": "s", "profile": "p", "model": "vit", "patterns": ("0.5",)}
        >>> [trial.pruner for trial in grid(**common, pruner=["cap", "magnitude"])]
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


FILTERS = ("model", "family", "pruner", "setting", "epochs", "phase", "sparsity")
PROFILES_OWN = "profile"  # the setting of trials that do not say whose their options are
ONE_SHOT = "one_shot"


def filter_trials(
    trials: Sequence[Trial], only: Iterable[str] = (), seeds: Sequence[int] | None = None, finetune: bool = True
) -> tuple[Trial, ...]:
    """Returns the trials that match all filters, see `choose_parts`."""
    return tuple(part.trial for part in choose_parts(trials, only, seeds, finetune))


def choose_parts(
    trials: Sequence[Trial], only: Iterable[str] = (), seeds: Sequence[int] | None = None, finetune: bool = True
) -> tuple[TrialPart, ...]:
    """Returns the trials that match all filters, each with what of it is wanted.

    Most filters choose whole trials. `sparsity` leaves of a one-shot trial the patterns with that fraction of zeros;
    `phase=one_shot` leaves its one-shot pruning, as no `finetune` does. Trials that are pruned during training are
    never cut: `sparsity` chooses those that reach it, `phase=one_shot` none.

    Args:
        trials: The trials of one profile.
        only: Filters `key=value`; several values for one key are alternatives.
        seeds: The seeds to keep; all by default.
        finetune: Whether anything is trained.

    Raises:
        UserError: If a key is unknown, a value matches no trial, or a seed stands twice.
    """
    only = tuple(only)
    wanted = _read_filters(trials, only)
    if mistake := repetition("--seeds", seeds or ()):
        raise UserError(mistake)
    known_seeds = sorted({trial.seed for trial in trials})
    if stray := sorted(set(seeds or ()) - set(known_seeds)):
        raise UserError(f"the sweep has no seed {stray[0]}: choose from {', '.join(map(str, known_seeds))}")
    sparsities, trained = wanted.pop("sparsity", None), finetune and "phase" not in wanted
    wanted.pop("phase", None)
    found = []
    for trial in trials:
        matches = all(set(_values_of(trial, key)) & values for key, values in wanted.items())
        if not matches or (seeds and trial.seed not in seeds) or (not trained and trial.training is not None):
            continue
        patterns = trial.patterns if sparsities is None else patterns_at(trial, set(map(float, sparsities)))
        if patterns:
            found.append(TrialPart(trial, part_of(trial, patterns, trained)))
    if not found:
        given = [*only, *([] if finetune else ["--no-finetune"]), *([f"--seeds {seeds}"] if seeds else [])]
        raise UserError(f"no trial matches {' '.join(given)}")
    return tuple(found)


def _read_filters(trials: Sequence[Trial], only: Iterable[str]) -> dict[str, set[str]]:
    """Returns {key: wanted values} of filters `key=value`."""
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        if key not in FILTERS or not value:
            raise UserError(f"cannot filter by {text!r}: write key=value with a key of {', '.join(FILTERS)}")
        known = _known_values(trials, key)
        if key == "sparsity":
            value = _as_number(value)
        if value not in known:
            raise UserError(f"no trial has {text}: choose from {', '.join(known)}")
        wanted.setdefault(key, set()).add(value)
    return wanted


def _known_values(trials: Sequence[Trial], key: str) -> list[str]:
    """Returns the values that trials have under a key, in order."""
    found = {value for trial in trials for value in _values_of(trial, key)}
    return sorted(found, key=float) if key in ("sparsity", "epochs") else sorted(found)


def _values_of(trial: Trial, key: str) -> Collection[str]:
    """Returns the values that a trial has under a key, as they are written in a filter."""
    if key == "family":
        return (trial.resolve().model.family,)
    if key == "setting":
        return (trial.setting or PROFILES_OWN,)
    if key == "epochs":
        recipe = trial.training or (trial.finetune if trial.finetune_at else None)
        return (str(recipe.epochs if recipe is not None else 0),)
    if key == "phase":
        return () if trial.training is not None else (ONE_SHOT,)
    if key == "sparsity":
        return [f"{cap.parse_pattern(pattern).sparsity:g}" for pattern in trial.patterns]
    return (getattr(trial, key),)


def _as_number(text: str) -> str:
    """Returns a number as filters know it; a text that is none as it is."""
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
