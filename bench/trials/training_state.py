"""State of one model's training."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm.optim import create_optimizer_v2
from torch import nn

import cap
from bench.core import distributed
from bench.core.random_state import random_state, set_random_state
from bench.specs.recipes import TrainingSpec
from bench.trials.context import TrialContext
from bench.trials.cost import FitCost
from bench.trials.measurement import TrainingSummary
from cap.distributed import rank, world_size
from cap.training.accelerator import Accelerator, ComputeMode, is_convolutional
from cap.training.schedules import cosine, linear, sawtooth, warmed_up

logger = logging.getLogger(__name__)

RATES = {"linear": linear, "cosine": cosine, "sawtooth": sawtooth}


@dataclass
class TrainingState:
    """One model's training from start to end, and how far it is.

    Attributes:
        recipe: The recipe.
        model: Model that is trained.
        training: Training of the model.
        measured: {number of epochs after which the model is measured: the pattern that it then has}.
        cost: Cost of the pruning so far.
        seconds: Time of the training so far, seconds.
        epoch: Number of epochs that are done.
        begun: Whether that which happens before the present epoch has happened.
        compute: How the training computed, in the order of the devices that took it up.
    """

    recipe: TrainingSpec
    model: nn.Module
    training: cap.Training
    measured: dict[int, cap.Pattern]
    cost: FitCost
    seconds: float = 0.0
    epoch: int = 0
    begun: bool = False
    compute: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on, with the random generators of every process."""
        return {
            "model": self.model.state_dict(),
            "training": self.training.state_dict(),
            "generators": distributed.all_gather_object(random_state()),
            "measured": {epoch: str(pattern) for epoch, pattern in self.measured.items()},
            "cost": dataclasses.asdict(self.cost),
            "seconds": self.seconds,
            "epoch": self.epoch,
            "begun": self.begun,
            "compute": list(self.compute),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state; model, training and recipe must be set up as they were then.

        Where there were as many processes, each takes up its own generators. Otherwise all take up those of process 0:
        they then draw the same batches, of which each keeps its share.
        """
        self.model.load_state_dict(state["model"])
        generators = state["generators"]
        set_random_state(generators[rank() if len(generators) == world_size() else 0])
        self.training.load_state_dict(state["training"])
        self.measured = {epoch: cap.parse_pattern(text) for epoch, text in state["measured"].items()}
        self.cost = FitCost(**state["cost"])
        self.seconds, self.epoch, self.begun = state["seconds"], state["epoch"], state["begun"]
        before = tuple(state["compute"])
        self.compute = before if before[-1:] == self.compute else before + self.compute


def start_training(
    context: TrialContext,
    model: nn.Module,
    recipe: TrainingSpec,
    measured: Mapping[int, cap.Pattern],
    cost: FitCost,
    learner: nn.Module | None = None,
) -> TrainingState:
    """Sets up the training of a copy of a model, with stochastic depth where the augmentation set has some.

    Args:
        context: The trial.
        model: The model, left as it is.
        recipe: The recipe.
        measured: {number of epochs after which the model is measured: the pattern that it then has}.
        cost: Cost of the pruning so far.
        learner: Model that learns in place of the copy, with parameters of the same names.
    """
    spec, device = context.resolved.model, context.config.device
    chosen, given = recipe.augmentation_set, learner is not None
    if learner is None:
        learner = spec.build(drop_path_rate=chosen.drop_path).to(device)
        learner.load_state_dict(model.state_dict())
    trial = context.resolved.trial
    seed = trial.derived_seed("fine-tune")
    stream = spec.training_stream(recipe, seed, rank(), world_size(), device)
    steps = recipe.lr_period() * -(-min(recipe.images, len(spec.inputs("train"))) // recipe.batch_size)
    warmup = round(recipe.warmup * steps)
    course, shape = steps - warmup, RATES[recipe.schedule]
    teacher = context.dense.model
    mode = compute_mode(context, recipe, None if given else learner)
    if mode.precision != recipe.precision:
        logger.warning("%s: trains in %s, for the card has no %s", trial.label, mode.precision, recipe.precision)
    training = cap.Training(
        learner,
        create_optimizer_v2(learner, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay),
        stream.epoch,
        lambda step: warmed_up(step, warmup, recipe.lr, lambda later: shape(later, course, recipe.lr, recipe.lr_end)),
        recipe.label_smoothing,
        chosen.grad_clip,
        cap.Distillation(teacher, recipe.distillation, recipe.temperature) if recipe.distillation else None,
        mode.precision,
        context.config.micro_batch,
        recipe.ema,
        tf32=mode.tf32,
        channels_last=mode.channels_last,
        compiled="inductor" if mode.compiled else None,
    )
    return TrainingState(recipe, learner, training, dict(measured), cost, compute=(str(mode),))


def compute_mode(context: TrialContext, recipe: TrainingSpec, model: nn.Module | None) -> ComputeMode:
    """Returns how a training computes on the trial's device.

    Args:
        context: The trial.
        recipe: The recipe.
        model: Model that is trained; None for a graph, which has layouts of its own and is not compiled.
    """
    accelerator, compute = Accelerator.of(context.config.device), context.config.compute
    if model is None:
        return accelerator.mode(recipe.precision, compute="auto" if compute == "compile" else compute)
    return accelerator.mode(recipe.precision, is_convolutional(model), compute)


def summarise_training(context: TrialContext, state: TrainingState) -> TrainingSummary:
    """Returns how much a model was trained, and how."""
    images = state.epoch * min(state.recipe.images, len(context.resolved.model.inputs("train")))
    plain = state.compute == (state.recipe.precision,)
    return TrainingSummary(state.epoch, images, state.seconds, None if plain else " then ".join(state.compute))
