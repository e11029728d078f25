"""Settings of pruners by whose they are: their authors', or those chosen on validation images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cap
from bench.core.errors import UserError
from bench.results.tuned import SETTINGS, Setting, read_tuned
from bench.specs.calibration import CalibrationSpec
from bench.specs.profiles import Profile
from bench.specs.recipes import FinetuneSpec
from bench.specs.search_spaces import Configuration, authors_configuration, find_space


def find_configuration(
    profile: Profile, model: str, pruner: str, setting: str, results: Path | None = None
) -> Configuration:
    """Returns the settings of a pruner on a model.

    Args:
        profile: The profile.
        model: Name of the model.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        setting: `authors` or `tuned`.
        results: Folder of all results; None for the published choices alone.

    Raises:
        UserError: If there is no such setting or pruner, or none was chosen for the pruner on the model.
    """
    if setting not in SETTINGS:
        raise UserError(f"unknown setting {setting!r}: choose from {', '.join(SETTINGS)}")
    if setting == "authors":
        return authors_configuration(profile, pruner, model)
    tuned = read_tuned(profile.name, results)
    chosen = tuned.find(model, pruner) if tuned is not None else None
    if chosen is None:
        space = find_space(pruner, profile.calibration)
        if space is not None and not space.axes:  # there is nothing to choose
            return authors_configuration(profile, pruner, model)
        then = "" if results is not None else ", then capbench publish tuning"
        raise UserError(f"no setting of {pruner} was chosen on {model} in profile {profile.name} yet: capbench tune "
                        f"--pruner {pruner} --model {model}{then}")  # fmt: skip
    return Configuration(chosen.pruner_options, CalibrationSpec.model_validate(chosen.calibration))


def has_choice(profile: Profile, pruner: str) -> bool:
    """Returns whether a pruner has settings to choose from; a user's own without a search space has none.

    Raises:
        UserError: If there is no such pruner, or its space is not valid.
    """
    space = find_space(pruner, profile.calibration)
    return space is not None and bool(space.axes)


def patterns_at(profile: Profile, pruner: str, sparsities: Iterable[float]) -> tuple[str, ...]:
    """Returns the patterns of sparsities over all layers, or for a pruner that refuses these layer by layer.

    Args:
        profile: The profile.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        sparsities: Fractions of zeros.

    Raises:
        UserError: If the pruner supports neither.
    """
    sparsities = tuple(sparsities)
    one = cap.create(pruner, **authors_configuration(profile, pruner).pruner_options)
    for scope in ("global", "layer"):
        patterns = [cap.Unstructured(sparsity, scope) for sparsity in sparsities]
        try:
            if not any(one.refusal(pattern) for pattern in patterns):
                return tuple(map(str, patterns))
        except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
            text = f"{pruner}: supports() raised {type(error).__name__}: {error}; it must answer before fit"
            raise UserError(text) from None
    listed = ", ".join(f"{sparsity}@layer" for sparsity in sparsities)
    raise UserError(f"{pruner} supports none of the patterns of tuning: {', '.join(map(str, sparsities))}, or {listed}")


def setting_cases(
    profile: Profile,
    models: Iterable[str],
    pruners: Iterable[str],
    settings: Iterable[Setting] = SETTINGS,
    **fields: Any,
) -> list[dict[str, Any]]:
    """Returns an axis of `bench.specs.sweep.grid`: every model with every pruner in each setting, as published.

    Args:
        profile: The profile.
        models: Names of models.
        pruners: Names of pruners.
        settings: Settings: `authors`, `tuned`.
        fields: Fields of the trial that are the same for all.

    Raises:
        UserError: If a setting is unknown, or none was chosen for a pruner on a model.
    """
    pruners, settings = tuple(pruners), tuple(settings)
    found = []
    for model in models:
        for pruner in pruners:
            for setting in settings:
                one = find_configuration(profile, model, pruner, setting)
                values = {"pruner_options": dict(one.pruner_options), "calibration": one.calibration}
                found.append({"model": model, "pruner": pruner, **values, "setting": setting, **fields})
    return found


def finetune_recipe(profile: Profile, model: str, results: Path | None = None) -> FinetuneSpec:
    """Returns the protocol's training after pruning, at the chosen rate of a model; where none is, at its own.

    Args:
        profile: The profile.
        model: Name of the model.
        results: Folder of all results; None for the published choices alone.

    Raises:
        UserError: If the profile has no such training.
    """
    recipe, tuned = profile.recipes.recovery, read_tuned(profile.name, results)
    if recipe is None:
        raise UserError(f"profile {profile.name} has no recipe of the protocol's fine-tune")
    rate = tuned.rate(model) if tuned is not None else None
    return recipe if rate is None else recipe.at_rate(rate)
