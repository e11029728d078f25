"""Comparison of a new pruner with others on the same data, seeds and budget: the trials."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import cap
from bench import assets
from bench.core.errors import UserError, first_mistake
from bench.reports.comparison.entry import Entry
from bench.reports.comparison.statistics import labels
from bench.results.folders import WORKING
from bench.specs.calibration import CalibrationSpec
from bench.specs.comparison_choices import KEPT, check_choices, check_several, check_shapes, check_statistics
from bench.specs.evidence import CONTROL, control
from bench.specs.profiles import Profile, get_profile
from bench.specs.recipes import FinetuneSpec
from bench.specs.search_spaces import Configuration
from bench.specs.settings import find_configuration, finetune_recipe
from bench.specs.sweep import COMPARE, grid
from bench.specs.trial import Trial, model_notes
from cap.registry import source_file

KINDS = ("0.5", "0.5@layer", "0.5@blocks4", "2:4")  # one pattern of each kind


@dataclass(frozen=True)
class PrunerConfig:
    """A pruner with all its options.

    Attributes:
        name: A name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: All options, defaults included; those of the first model where models have their own.
        label: Name in the report, different from that of all others.
        per_model: {model: settings}, where models have their own; empty where all have `options`.
    """

    name: str
    options: dict[str, Any]
    label: str
    per_model: Mapping[str, Configuration] = field(default_factory=dict)

    @property
    def entry(self) -> Entry:
        """The pruner as the report names it, with its file, or its class where it is of this package."""
        path, options = source_file(self.name), json.dumps(self.options, sort_keys=True)
        own = {model: json.dumps(one.pruner_options, sort_keys=True) for model, one in self.per_model.items()}
        if path is None:
            found = type(self.pruner)
            return Entry(self.label, self.name, options, f"{found.__module__}.{found.__qualname__}", model_options=own)
        return Entry(self.label, self.name, options, path.name, assets.sha256(path), path.read_text(), own)

    def at(self, model: str, calibration: CalibrationSpec) -> dict[str, Any]:
        """Returns the fields of a trial on a model.

        Args:
            model: Name of the model.
            calibration: Calibration of the profile.
        """
        one = self.per_model.get(model) or Configuration(self.options, calibration)
        return {"pruner": self.name, "pruner_options": dict(one.pruner_options), "calibration": one.calibration}

    @cached_property
    def pruner(self) -> cap.Pruner:
        """The pruner, not fitted."""
        return cap.create(self.name, **self.options)

    def refusal(self, pattern: str) -> str | None:
        """Returns why the pruner cannot produce a pattern, or None if it can.

        Raises:
            UserError: If the pruner cannot say so before it is fitted.
        """
        try:
            return self.pruner.refusal(cap.parse_pattern(pattern))
        except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
            raise UserError(
                f"{self.name}: supports() raised {type(error).__name__}: {error}; it must answer before fit"
            ) from None


@dataclass(frozen=True)
class Comparison:
    """A new pruner against others on the same models, patterns and seeds.

    Attributes:
        new: The pruner to compare.
        against: The others.
        profile: The profile.
        trials: All trials, those of one model and seed side by side.
        name: File name that no other comparison has.
        split: Split that decides.
        setting: Whose settings the pruners have; None for those of the profile.
        batch_norm: Statistics of batch normalisation after pruning, see `Trial`.
    """

    new: PrunerConfig
    against: tuple[PrunerConfig, ...]
    profile: Profile
    trials: tuple[Trial, ...]
    name: str
    split: str = "test"
    setting: str | None = None
    batch_norm: str = KEPT

    @property
    def pruners(self) -> tuple[PrunerConfig, ...]:
        """All pruners, the new one first."""
        return (self.new, *self.against)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns, by sparsity."""
        every = {pattern for trial in self.trials if trial.patterns != (CONTROL,) for pattern in trial.patterns}
        return tuple(sorted(every, key=_by_sparsity))

    def entries(self) -> list[Entry]:
        """Returns the pruners as the report names them."""
        return [one.entry for one in self.pruners]

    def overrides(self) -> str | None:
        """Returns which of the new pruner's own defaults the profile replaces, so that budgets are equal."""
        if self.setting is not None:
            return f"all run with {'tuned settings' if self.setting == 'tuned' else 'the settings of their authors'}"
        defaults = cap.default_options(self.new.name)
        given = self.profile.pruner_options(self.new.name)
        changed = [
            f"{key}={value!r}" for key, value in given.items() if self.new.options[key] == value != defaults[key]
        ]
        listed = ", ".join(changed)
        return f"{self.new.label} runs with {listed}, as the others; --option sets another value" if changed else None

    def notes(self) -> Iterator[str]:
        """Yields what is to be known before the trials run: own models, the profile's options, skipped patterns."""
        yield from model_notes(self.trials)
        if overrides := self.overrides():
            yield overrides
        yield from self.refusals()

    def refusals(self) -> Iterator[str]:
        """Yields a line for every pattern that a pruner will skip."""
        for config in self.pruners:
            for pattern in self.patterns:
                if reason := config.refusal(pattern):
                    yield f"{config.label} skips {pattern}: {reason}"


def plan(
    pruner: str,
    options: Mapping[str, Any],
    against: Sequence[str],
    models: Sequence[str],
    sparsities: Sequence[str],
    seeds: Sequence[int],
    finetune: bool = False,
    profile: str = "embedded",
    split: str = "test",
    setting: str | None = None,
    results: Path = WORKING,
    batch_norm: str = KEPT,
) -> Comparison:
    """Builds the trials of a comparison.

    Args:
        pruner: The new pruner: `path/to/file.py:ClassName`, or a registered name.
        options: Options of the new pruner; they take precedence over what the profile sets.
        against: The pruners to compare it with.
        models: Models of the profile; none for those that have several dense models, or where none has for all.
        sparsities: Sparsities or other patterns, as `cap.parse_pattern` reads them.
        seeds: Seeds; each is another dense model where there are several, and draws other calibration images.
        finetune: Whether to fine-tune after every pattern and the dense model, by the protocol's recipe where the
            profile has it.
        profile: The profile.
        split: Split that is evaluated: `test` or `validation`.
        setting: Whose settings all pruners have: `authors`, or `tuned` on each model; None for those of the profile.
        results: Folder of all results, with the tuned settings.
        batch_norm: Statistics of batch normalisation after every pruning: `kept`, or `reestimated` for all pruners.

    Raises:
        UserError: If any of these is not valid, the new pruner is one of the others, or it supports no pattern.
    """
    chosen = get_profile(profile)
    check_choices(chosen, split, setting, options)
    check_several("--against", against)
    check_several("--seeds", seeds)
    if min(seeds) < 0:
        raise UserError(f"--seeds {min(seeds)} is not valid: a seed is at least 0")
    models = tuple(models) or tuple(chosen.seeded_models) or tuple(chosen.models)
    if not models:
        raise UserError(f"--data {profile} needs --model: timm:NAME, or my_model.py:FUNCTION")
    check_several("--model", models)
    for model in models:
        chosen.model(model)  # refuses unknown ones
    patterns = _patterns(sparsities)
    wanted = [(pruner, options), *((name, {}) for name in against)]
    new, *others = _pruners(chosen, wanted) if setting is None else _set(chosen, wanted, models, setting, results)
    _check_supported(new, others, patterns)
    check_shapes(chosen, models, patterns)
    check_statistics(chosen, models, batch_norm)
    fields = {"evaluation_split": split, "setting": setting, "batch_norm": batch_norm}
    recipes = {model: _recipe(chosen, model, results) for model in models} if finetune else {}
    trials = _trials(chosen, models, seeds, (new, *others), patterns, recipes, fields)
    values = [chosen.name, [[one.name, one.options] for one in (new, *others)], models, patterns, seeds, finetune]
    values += [split, setting] if (split, setting) != ("test", None) else []
    values += [batch_norm] if batch_norm != KEPT else []
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', new.label).strip('-')}-{digest}"
    return Comparison(new, tuple(others), chosen, trials, name, split, setting, batch_norm)


def _trials(
    profile: Profile,
    models: Sequence[str],
    seeds: Sequence[int],
    pruners: Sequence[PrunerConfig],
    patterns: tuple[str, ...],
    recipes: Mapping[str, FinetuneSpec],
    fields: Mapping[str, Any],
) -> tuple[Trial, ...]:
    found: list[Trial] = []
    try:
        for model in models:
            cases = [
                {**one.at(model, profile.calibration), "patterns": part} for one in pruners for part in _apart(patterns)
            ]
            if model in recipes:
                cases = [{**case, "finetune": recipes[model], "finetune_at": case["patterns"]} for case in cases]
                cases.append({**control(model, recipes[model]), "calibration": profile.calibration, "setting": None})
            units = [{"seed": seed, "dense_seed": seed} for seed in seeds] if profile.model(model).seeded else [*seeds]
            found += grid(sweep=COMPARE, profile=profile.name, model=model, **fields, seed=units, case=cases)
        return tuple(found)
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None


def _recipe(profile: Profile, model: str, results: Path) -> FinetuneSpec:
    """Returns the fine-tune of a model: that of the protocol, else the profile's own."""
    return finetune_recipe(profile, model, results) if profile.recipes.recovery else profile.recipes.finetune


def _patterns(sparsities: Sequence[str]) -> tuple[str, ...]:
    """Returns the patterns in their one way of writing, by sparsity: the order given must not change a trial's id."""
    try:
        patterns = [cap.parse_pattern(text) for text in sparsities]
    except ValueError as error:
        raise UserError(f"--sparsity: {error}") from None
    check_several("--sparsity", [str(pattern) for pattern in patterns])
    return tuple(sorted(map(str, patterns), key=_by_sparsity))


def _by_sparsity(pattern: str) -> tuple[float, str]:
    return cap.parse_pattern(pattern).sparsity, pattern


def _apart(patterns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Returns the patterns of each trial: N:M, for which a model may leave other layers dense, apart from the rest."""
    groups = tuple(pattern for pattern in patterns if isinstance(cap.parse_pattern(pattern), cap.NM))
    return [part for part in (tuple(one for one in patterns if one not in groups), groups) if part]


def _pruners(profile: Profile, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[PrunerConfig]:
    """Returns the pruners with the profile's options, these overridden by their own; refuses the same one twice."""
    found: list[tuple[str, dict[str, Any]]] = []
    made: list[tuple[type[cap.Pruner], dict[str, Any]]] = []
    for name, own in wanted:
        name = _as_written(name)
        try:
            options = {**cap.default_options(name), **profile.pruner_options(name), **own}
            if missing := [key for key, value in options.items() if value is inspect.Parameter.empty]:
                raise ValueError(f"{name}: {missing[0]} has no default: give it with --option {missing[0]}=VALUE")
            pruner = cap.create(name, **options)
            json.dumps(options)  # a trial's identity and its rows hold them so
        except ValueError as error:
            raise UserError(str(error)) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
            raise UserError(f"pruner {name}: {type(error).__name__}: {error}") from None
        if (type(pruner), options) in made:
            raise UserError(f"{name} stands twice with the same options: compare it with others, or give it --option")
        found.append((name, options))
        made.append((type(pruner), options))
    return [PrunerConfig(*one, label) for one, label in zip(found, labels(found), strict=True)]


def _set(
    profile: Profile,
    wanted: Sequence[tuple[str, Mapping[str, Any]]],
    models: Sequence[str],
    setting: str,
    results: Path,
) -> list[PrunerConfig]:
    """Returns the pruners with the authors' or tuned settings on each model; refuses the same one twice."""
    names = [_as_written(name) for name, _ in wanted]
    found: list[PrunerConfig] = []
    for name in names:
        per_model = {model: find_configuration(profile, model, name, setting, results) for model in models}
        found.append(PrunerConfig(name, dict(per_model[models[0]].pruner_options), name, per_model))
    for place, one in enumerate(found):
        if any(type(one.pruner) is type(other.pruner) for other in found[:place]):
            raise UserError(f"{one.name} stands twice with --setting {setting}: compare it with others")
    given = labels([(one.name, one.options) for one in found])
    return [replace(one, label=label) for one, label in zip(found, given, strict=True)]


def _as_written(name: str) -> str:
    """Returns a pruner's name in one way of writing: ./mine.py and mine.py are the same."""
    path, colon, class_name = name.rpartition(":")
    return f"{Path(path)}:{class_name}" if colon else name


def _check_supported(new: PrunerConfig, others: Sequence[PrunerConfig], patterns: Sequence[str]) -> None:
    """Refuses patterns none of which the new pruner supports, or none together with another."""
    refused = {pattern: reason for pattern in patterns if (reason := new.refusal(pattern))}
    if len(refused) == len(patterns):
        kinds = [kind for kind in KINDS if not new.refusal(kind)]
        able = f"of {', '.join(KINDS)} it supports {' and '.join(kinds) or 'none'}"
        reasons = "; ".join(f"{pattern}: {reason}" for pattern, reason in refused.items())
        raise UserError(f"{new.label} supports no pattern of --sparsity: {able} ({reasons})")
    shared = [pattern for pattern in patterns if pattern not in refused]
    if all(other.refusal(pattern) for other in others for pattern in shared):
        reasons = "; ".join(f"{other.label} {other.refusal(shared[0])}" for other in others)
        raise UserError(
            f"no pruner of --against supports {' or '.join(shared)}, so there is nothing to compare: {reasons}"
        )
