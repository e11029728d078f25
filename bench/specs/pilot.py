"""Pilots: a sweep on few images, to see that all works; its rows are never those of the sweep.

A pilot is a sweep of its own name with results of its own, and its trials say how many images they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench.core.errors import UserError, first_mistake
from bench.results.folders import pilot_name
from bench.specs.recipes import TrainingSpec
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial


def pilot_sweep(sweep: Sweep, profile: str, images: int) -> Sweep:
    """Returns the pilot of a sweep in one profile.

    Args:
        sweep: The sweep.
        profile: Name of the profile.
        images: Number of images that are evaluated, and largest number for calibration and for an epoch of training.

    Raises:
        UserError: If the sweep has no such profile, or no such pilot.
    """
    if images < 1:
        raise UserError(f"--images {images} is not valid: give at least 1")
    name = pilot_name(sweep.name, images)
    try:
        trials = tuple(_pilot(trial, name, images) for trial in sweep.trials(profile))
        return Sweep(
            name=name, title=f"{sweep.title}: pilot of {images} images", profiles={profile: trials}, tuning=sweep.tuning
        )
    except ValidationError as error:
        raise UserError(f"--images {images}: {first_mistake(error)}") from None


def _pilot(trial: Trial, name: str, images: int) -> Trial:
    calibration = trial.calibration
    size = min(calibration.batch_size, images)
    calibration = calibration.model_copy(update={"images": min(calibration.images, images), "batch_size": size})
    gradients = calibration.images if calibration.gradient == "sample" else max(1, calibration.images // size)
    values = {
        **{field: getattr(trial, field) for field in type(trial).model_fields},
        "sweep": name,
        "pilot_images": images,
        "evaluation_images": min(trial.evaluation_images or images, images),
        "calibration": calibration,
        "pruner_options": _fewer_gradients(trial.pruner_options, gradients),
    }
    for field in ("finetune", "training"):
        values[field] = _smaller(getattr(trial, field), images)
    if (quantization := trial.quantization) is not None:
        values["quantization"] = quantization.model_copy(update={"finetune": _smaller(quantization.finetune, images)})
    return Trial(**values)


def _fewer_gradients(options: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Returns options of a pruner with at most so many gradients, those of a pruner within it included."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found[key] = _fewer_gradients(value, most)
        else:
            found[key] = min(value, most) if key == "num_gradients" and value is not None else value
    return found


def _smaller(recipe: TrainingSpec | None, images: int) -> TrainingSpec | None:
    if recipe is None:
        return None
    return recipe.model_copy(
        update={"images": min(recipe.images, images), "batch_size": min(recipe.batch_size, images)}
    )
