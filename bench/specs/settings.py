"""Settings of pruners by whose they are: their authors', or those chosen on validation images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
        raise UserError(f"no setting of {pruner} was chosen on {model} in profile {profile.name} yet: capbench tune "
                        f"--pruner {pruner} --model {model}")  # fmt: skip
    return Configuration(chosen.pruner_options, CalibrationSpec.model_validate(chosen.calibration))


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


def finetune_recipe(profile: Profile, model: str) -> FinetuneSpec:
    """Returns the protocol's training after pruning, at the published rate of a model; where none is, at its own.

    Raises:
        UserError: If the profile has no such training.
    """
    recipe, tuned = profile.recipes.recovery, read_tuned(profile.name)
    if recipe is None:
        raise UserError(f"profile {profile.name} has no recipe of the protocol's fine-tune")
    rate = tuned.rate(model) if tuned is not None else None
    return recipe if rate is None else recipe.at_rate(rate)
