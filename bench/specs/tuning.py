"""Tuning: the trials that settings are chosen by, the same number for every pruner, on validation images alone."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from bench.core.errors import UserError, first_mistake
from bench.results.folders import TUNING
from bench.results.tuned import CONFIGURATIONS
from bench.specs.profiles import Profile, get_profile
from bench.specs.recipes import FinetuneSpec
from bench.specs.search_spaces import Configuration, authors_configuration, configurations, search_spaces
from bench.specs.settings import patterns_at
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial, repetition

TUNING_SEED = 0  # of the draw of configurations
DENSE_SEED = 0  # of the dense models and of the calibration images
SPARSITIES = (0.5, 0.75, 0.9)
SPLIT = "validation"
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # highest learning rates of the fine-tune
RATE_PRUNERS = ("magnitude", "cap")  # by whose mean a rate is chosen
RATE_PATTERN = "0.75"


def tuning_sweep(
    profile: str = "embedded",
    pruners: Sequence[str] = (),
    models: Sequence[str] = (),
    count: int = CONFIGURATIONS,
    images: int | None = None,
    seeded: bool = True,
) -> Sweep:
    """Returns the sweep that settings are chosen by; without `pruners` also that of the fine-tune's learning rate.

    The trials of a pruner on a model follow one another in the order in which their settings were drawn.

    Args:
        profile: Name of the profile.
        pruners: Names of the pruners, or `path/to/file.py:ClassName`; none for all of this package with a search space.
        models: Names of models; none for all of the profile, where some have seeds for these.
        count: Largest number of configurations of a pruner.
        images: Number of validation images; None for all.
        seeded: Whether dense models are those of `DENSE_SEED`, where the profile has any.

    Raises:
        UserError: If a pruner, model or search space is not valid, or the profile has no validation images.
    """
    known = get_profile(profile)
    chosen = tuple(models) or (known.seeded_models if seeded else ()) or tuple(known.models)
    if not chosen:
        raise UserError(f"profile {profile} needs a model: timm:NAME, or my_model.py:FUNCTION")
    for option, values in (("--model", chosen), ("--pruner", pruners)):
        if mistake := repetition(option, values):
            raise UserError(mistake)
    named = tuple(pruners) or tuple(search_spaces(known.calibration.images))
    common = {"sweep": TUNING, "profile": profile, "seed": DENSE_SEED, "evaluation_split": SPLIT,
              "evaluation_images": images}  # fmt: skip
    plans = [_plan(known, pruner, count) for pruner in named]
    trials: list[Trial] = []
    try:
        for model in chosen:
            fields = {**common, "model": model, "dense_seed": dense_seed(known, model) if seeded else None}
            trials += [Trial.model_validate({**fields, **values}) for plan in plans for values in plan]
            if not pruners and known.recipes.recovery is not None:
                trials += _rates(known, known.recipes.recovery, fields)
        return Sweep(name=TUNING, title="Settings of pruners and of the fine-tune, on validation images", tuning=True,
                     profiles={profile: tuple(trials)})  # fmt: skip
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None


def dense_seed(profile: Profile, model: str) -> int | None:
    """Returns the seed of the dense model that settings are chosen on; None where the model has one set of weights."""
    return DENSE_SEED if profile.model(model).seeded else None


def _plan(profile: Profile, pruner: str, count: int) -> list[dict[str, object]]:
    """Returns the fields of a pruner's trials that are the same on every model."""
    patterns, tried = patterns_at(profile, pruner, SPARSITIES), configurations(profile, pruner, count, TUNING_SEED)
    return [{**_fields(pruner, one), "patterns": patterns} for one in tried]


def _fields(pruner: str, one: Configuration) -> dict[str, object]:
    """Returns the fields of a trial that are a pruner's settings."""
    return {"pruner": pruner, "pruner_options": dict(one.pruner_options), "calibration": one.calibration}


def _rates(profile: Profile, recipe: FinetuneSpec, fields: dict[str, object]) -> list[Trial]:
    """Returns the trials of the fine-tune's learning rates on a model, pruner after pruner."""
    found = []
    for pruner in RATE_PRUNERS:
        common = {**fields, **_fields(pruner, authors_configuration(profile, pruner)), "patterns": (RATE_PATTERN,)}
        found += [
            Trial.model_validate({**common, "finetune_at": (RATE_PATTERN,), "finetune": recipe.at_rate(rate)})
            for rate in RATES
        ]
    return found
