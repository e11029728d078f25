"""Trainings of the scripts: epoch by epoch, with a checkpoint after each, so that a killed run goes on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from bench.core.config import Spec
from bench.core.random_state import random_state, seed_everything, set_random_state
from bench.data.fashion_mnist import Split, to_input
from bench.models import ModelSpec
from bench.scripts.augmentation import augment
from bench.scripts.optimization import create_optimizer, create_scheduler
from bench.scripts.recipes import MILD, Recipe
from bench.trials.checkpoint import Checkpoint


class EpochRecord(Spec):
    """What is known of one epoch.

    Attributes:
        epoch: Number of epochs so far.
        loss: Mean training loss.
        validation_top1: Top-1 on the validation images after it, percent; by nearest neighbours without labels. None
            where it was not measured.
        seconds: Time of training and validation.
    """

    epoch: int
    loss: float
    validation_top1: float | None
    seconds: float


class Training(Protocol):
    """A training under way that carries its own state."""

    epochs: int
    identity: str

    def run_epoch(self, epoch: int) -> float:
        """Trains for one epoch, the first is 0; returns the mean loss."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on but the random generators of the process."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        ...


def run_epochs(
    training: Training,
    folder: Path,
    validate: Callable[[], float],
    label: str,
    validate_every: int = 1,
    show: Callable[[str], object] = lambda line: print(line, flush=True),
) -> list[EpochRecord]:
    """Runs the epochs that are left, and saves after each; a run that is killed loses one epoch and no result.

    Args:
        training: The training, at its start.
        folder: Folder of the checkpoint; one of another training is replaced.
        validate: Function that returns the top-1 on the validation images, percent.
        label: Name of the training in messages.
        validate_every: Epochs from one validation to the next; the last is validated in any case.
        show: Function that shows a line.

    Returns:
        A record for each epoch, those of runs before included.
    """
    checkpoint = Checkpoint(folder)
    checkpoint.discard_unfinished()
    records: list[EpochRecord] = []
    state = checkpoint.load()
    if state is not None and state["identity"] == training.identity:
        training.load_state_dict(state["training"])
        set_random_state(state["random"])
        records = [EpochRecord(**record) for record in state["records"]]
    for epoch in range(len(records), training.epochs):
        start = time.perf_counter()
        loss = training.run_epoch(epoch)
        last = epoch + 1 == training.epochs
        found = validate() if last or (epoch + 1) % validate_every == 0 else None
        seconds = round(time.perf_counter() - start, 2)
        records.append(EpochRecord(epoch=epoch + 1, loss=loss, validation_top1=found, seconds=seconds))
        checkpoint.save(
            {
                "identity": training.identity,
                "training": training.state_dict(),
                "random": random_state(),
                "records": [record.model_dump() for record in records],
            }
        )
        show(_line(label, records, training.epochs))
    return records


def _line(label: str, records: list[EpochRecord], epochs: int) -> str:
    last = records[-1]
    found = f", validation {last.validation_top1:.2f} %" if last.validation_top1 is not None else ""
    left = (epochs - last.epoch) * sum(record.seconds for record in records) / len(records)
    return f"{label}: epoch {last.epoch}/{epochs}, loss {last.loss:.4f}{found}, {left / 60:.0f} min left"


def for_training(model: nn.Module) -> nn.Module:
    """Returns a model, changed in place, so that a step on a CPU takes less time and finds the same gradient.

    Torch's fused attention is slow at few tokens, and depthwise convolutions are where channels are not the last axis.

    Args:
        model: Model of timm.
    """
    attention: Any
    for attention in model.modules():
        if hasattr(attention, "fused_attn"):
            attention.fused_attn = False
    return model.to(memory_format=torch.channels_last)


class AveragedTraining(ABC):
    """Base of trainings whose result is the exponential moving average of the weights: a step, and the state.

    Attributes:
        generator: Generator of order and augmentation.
        optimizer: Optimiser.
        scheduler: Schedule of its rate.
        ema: Average of the weights.
        step: Number of steps so far.
    """

    generator: torch.Generator
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    ema: ModelEmaV3
    step: int = 0

    @property
    def averaged(self) -> nn.Module:
        """Model with the moving average of the weights, in eval mode."""
        return self.ema.module.eval()

    @abstractmethod
    def _parts(self) -> dict[str, Any]:
        """Returns all that has a state of its own, by the name that it has in a checkpoint."""

    def descend(self, loss: Tensor, trained: nn.Module, averaged: nn.Module, grad_clip: float) -> None:
        """Takes a step of the optimiser and updates the average.

        Args:
            loss: Loss of a batch.
            trained: Module with all weights that are trained.
            averaged: Module whose weights are averaged.
            grad_clip: Largest norm of the gradient.
        """
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), grad_clip)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.ema.update(averaged, self.step)

    def state_dict(self) -> dict[str, Any]:
        """Returns weights, average, optimiser, rate and generator."""
        found = {name: part.state_dict() for name, part in self._parts().items()}
        return {**found, "generator": self.generator.get_state(), "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.step = state["step"]


class SupervisedTraining(AveragedTraining):
    """Training with labels; its result is the exponential moving average of the weights.

    Args:
        model: Model to train, with its first weights.
        spec: Its specification.
        train_set: Training images.
        recipe: Recipe of the training.
        seed: Seed of order, augmentation and mixing.

    Attributes:
        epochs: Number of epochs.
        identity: Text that tells the training from others.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec, train_set: Split, recipe: Recipe, seed: int) -> None:
        self.model, self.spec, self.train_set, self.recipe = for_training(model), spec, train_set, recipe
        self.epochs = recipe.epochs
        self.identity = f"{spec.model_dump_json()} {recipe.model_dump_json()} {len(train_set)} {seed}"
        self.generator = torch.Generator().manual_seed(seed)
        seed_everything(seed)  # timm's Mixup draws from numpy's generator, stochastic depth from torch's
        self.mix = Mixup(
            mixup_alpha=recipe.mixup,
            cutmix_alpha=recipe.cutmix,
            prob=recipe.mixup_prob,
            label_smoothing=recipe.smoothing,
            num_classes=spec.num_classes,
        )
        self.steps_per_epoch = len(train_set) // recipe.batch_size
        self.optimizer = create_optimizer(model, recipe.lr, recipe.weight_decay)
        steps, warmup = recipe.epochs * self.steps_per_epoch, recipe.warmup_epochs * self.steps_per_epoch
        self.scheduler = create_scheduler(self.optimizer, steps, warmup)
        self.ema = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True)

    def run_epoch(self, epoch: int) -> float:
        """Trains for one epoch, the first is 0; returns the mean loss."""
        recipe, total = self.recipe, 0.0
        self.model.train()
        calm = epoch >= recipe.epochs - recipe.calm_epochs
        order = torch.randperm(len(self.train_set), generator=self.generator)
        for images, labels in self.train_set.batches(
            recipe.batch_size, order[: self.steps_per_epoch * recipe.batch_size]
        ):
            scaled = augment(images.float() / 255, MILD if calm else recipe.augmentation, self.generator)
            inputs, targets = to_input(scaled, self.spec.input_size), labels
            if not calm:
                inputs, targets = self.mix(inputs, labels)
            loss = F.cross_entropy(self.model(inputs), targets, label_smoothing=recipe.smoothing if calm else 0.0)
            self.descend(loss, self.model, self.model, recipe.grad_clip)
            total += loss.item()
        return total / self.steps_per_epoch

    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "ema": self.ema, "optimizer": self.optimizer, "scheduler": self.scheduler}
