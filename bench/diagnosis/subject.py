"""What is diagnosed: a model with its weights, some images, and the fit that is foreseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

import cap
from bench.core.errors import UserError, first_mistake
from bench.data.inputs import TensorInputs, stack_batches
from bench.specs.profiles import get_profile
from bench.specs.trial import ResolvedTrial, Trial

SEED = 0


@dataclass(frozen=True)
class Subject:
    """A model with its weights, some images, and the fit that is foreseen.

    Attributes:
        resolved: Trial whose fit is foreseen.
        model: Dense model on its device, in eval mode.
        layers: Weights to prune, {name: weight}.
        calibration: Some of the calibration images.
        images: Images that the accuracy is measured on.
        split: Split that these are of.
        top1: Top-1 that is expected of the dense model, percent; None if nothing is known.
        memory_budget: Bytes that a fit may take.
        device: Torch device of the model.
    """

    resolved: ResolvedTrial
    model: nn.Module
    layers: Mapping[str, Tensor]
    calibration: cap.Calibration
    images: TensorInputs
    split: str
    top1: float | None
    memory_budget: int
    device: str

    @property
    def own(self) -> bool:
        """Whether model and data are a user's own, so that options of the command line reach them."""
        return ":" in self.resolved.trial.profile


def plan_trial(profile_name: str, model: str, pruner: str, options: Mapping[str, Any]) -> ResolvedTrial:
    """Returns the trial that a model would be pruned by, with the profile's options.

    Args:
        profile_name: Name of the profile, or the text of the data.
        model: Name or text of the model.
        pruner: Name of the pruner.
        options: Options that take precedence over the profile's.

    Raises:
        UserError: If one of these is not valid.
    """
    profile = get_profile(profile_name)
    profile.model(model)  # refuses unknown ones
    try:
        chosen = {**profile.pruner_options(pruner, model), **options}
        trial = Trial(sweep="diagnosis", profile=profile.name, model=model, pruner=pruner, pruner_options=chosen,
                      patterns=("0.5",), calibration=profile.calibration, seed=SEED)  # fmt: skip
    except ValueError as error:
        raise UserError(first_mistake(error) if isinstance(error, ValidationError) else str(error)) from None
    return trial.resolve()


def load_subject(
    resolved: ResolvedTrial, count: int, top1: float | None, memory_budget: int | None, device: str
) -> Subject:
    """Loads a model with its weights and some images.

    Args:
        resolved: Trial whose fit is foreseen.
        count: Number of images to calibrate on, and of those to measure the accuracy on.
        top1: Top-1 that is expected, percent; None for the one on record.
        memory_budget: Bytes that a fit may take; None for what is free less a tenth.
        device: Torch device.

    Raises:
        UserError: If weights or data are missing or damaged.
    """
    spec, trial = resolved.model, resolved.trial
    spec.check()
    model = spec.load(device)
    images, labels = stack_batches(spec.calibration_inputs(min(count, trial.calibration.images), trial.seed))
    calibration = cap.Calibration(images, labels, batch_size=trial.calibration.batch_size, seed=trial.seed)
    if resolved.profile.splits.get("validation"):
        split, evaluated = "validation", TensorInputs(*stack_batches(spec.evaluation_inputs(count, "validation")))
    else:  # never test images: what is found decides how the model is run
        split, evaluated = "calibration", TensorInputs(images, labels)
    recorded = spec.recorded_top1(split) or spec.recorded_top1()
    budget = cap.default_budget(device) if memory_budget is None else memory_budget
    layers = cap.select_layers(model, spec.prunable)
    return Subject(resolved, model, layers, calibration, evaluated, split, top1 if top1 is not None else recorded,
                   budget, device)  # fmt: skip
