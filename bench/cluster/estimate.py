"""Estimates of what trials will take: time, memory, storage.

A trial's work is counted in multiply-adds of a few kinds; a device does each kind at its own rate. The rates of two
processor cores were fitted to the committed results of the embedded profile, and the tests hold them to these. No GPU
was measured: those rates are assumptions, told as such wherever they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

import cap
from bench.evaluation.macs import count_macs
from bench.models import ModelSpec
from bench.specs.recipes import TrainingSpec
from bench.specs.trial import Trial

START = 20.0  # seconds until a job's first trial begins: libraries, model, data
ROWS = 64 * 1024  # bytes of a trial's two files


@dataclass(frozen=True)
class Rates:
    """Rates of a device, in multiply-adds per second.

    Attributes:
        name: Name of the device.
        measured: Whether the rates were measured, or are assumed.
        inference: Forward passes in float32.
        gradients: Passes that give each image's gradients, in float32.
        training: Passes of training with the recipe's precision.
        gram: Sums of gradient products.
        solve: Factors, elimination, and reading off weights.
        image_seconds: Time to decode and augment one training image with the cores that come with the device, seconds.
    """

    name: str
    measured: bool
    inference: float
    gradients: float
    training: float
    gram: float
    solve: float
    image_seconds: float


RATES = {
    rates.name: rates
    for rates in (
        Rates("cpu", True, 3e10, gradients=1.1e10, training=1.5e10, gram=8e9, solve=2e9, image_seconds=3e-4),
        # a quarter of what the maker states for an A100 (156e12 multiply-adds in bf16, 9.75e12 in float32 and double
        # precision) and an H100 (495e12, 33e12), a tenth of that for elimination; 16 cores decode 3,000 images a second
        Rates("a100", False, 2.4e12, gradients=2.4e12, training=3.9e13, gram=2.4e12, solve=2.4e11, image_seconds=3e-4),
        Rates("h100", False, 8e12, gradients=8e12, training=1.2e14, gram=8e12, solve=8e11, image_seconds=3e-4),
    )
}


def assumed_rates(device: str) -> Rates:
    """Returns the rates of a torch device that nothing else is known of, to bring trials together by."""
    return RATES["a100" if device.startswith("cuda") else "cpu"]


@dataclass(frozen=True)
class ModelSize:
    """A model in numbers.

    Attributes:
        macs: Multiply-adds of a forward pass for one image.
        weights: Number of weights that are pruned.
        largest_layer: Number of weights in the largest layer of these.
        parameters: Number of all parameters.
        layers: Number of layers that are pruned.
    """

    macs: int
    weights: int
    largest_layer: int
    parameters: int
    layers: int


@cache
def model_size(spec: ModelSpec) -> ModelSize:
    """Measures a model's architecture; it needs neither its weights nor memory for them."""
    net = spec.outline()
    image = torch.zeros(1, *spec.input_shape, device=next(net.parameters()).device)
    layers = cap.select_layers(net, spec.prunable)
    total, sizes = sum(p.numel() for p in net.parameters()), [w.numel() for w in layers.values()]
    return ModelSize(count_macs(net, layers, image).total, sum(sizes), max(sizes), total, len(sizes))


@dataclass(frozen=True)
class TrialWork:
    """Work of a trial, in multiply-adds.

    Attributes:
        fit: Work of all fits of the pruner.
        evaluation: Forward passes of evaluations, in float32.
        training: Forward and backward passes of training, with the recipe's precision.
        training_images: Number of images that are decoded and augmented for training.
    """

    fit: cap.FitWork = field(default_factory=cap.FitWork)
    evaluation: float = 0.0
    training: float = 0.0
    training_images: float = 0.0

    def __add__(self, other: TrialWork) -> TrialWork:
        return TrialWork(
            self.fit + other.fit,
            self.evaluation + other.evaluation,
            self.training + other.training,
            self.training_images + other.training_images,
        )

    def seconds(self, rates: Rates) -> float:
        """Returns how long a device takes."""
        return (
            (self.fit.inference + self.evaluation) / rates.inference
            + self.fit.gradients / rates.gradients
            + self.training / rates.training
            + self.fit.gram / rates.gram
            + self.fit.solve / rates.solve
            + self.training_images * rates.image_seconds
        )


def training_work(trial: Trial, recipe: TrainingSpec) -> TrialWork:
    """Returns the work of one training run."""
    images = recipe.images * recipe.epochs
    return TrialWork(training=3 * model_size(trial.resolve().model).macs * images, training_images=images)


def trial_work(trial: Trial, shared: bool = False) -> TrialWork:
    """Returns the work of a trial.

    Args:
        trial: The trial.
        shared: Whether another trial of its group has summed up the gradients already.
    """
    resolved = trial.resolve()
    pruner, size = resolved.pruner(), _fit_size(trial)
    fit, prune = pruner.work(size), pruner.prune_work(size)
    if shared:
        fit = cap.FitWork(inference=fit.inference, solve=fit.solve)
    states = len(trial.patterns) + len(trial.finetune_at)
    images = resolved.model.evaluation_passes(resolved.num_evaluated)
    total = TrialWork(evaluation=model_size(trial.resolve().model).macs * images * states)
    if trial.training is None:
        total += TrialWork(sum([prune] * len(trial.patterns), fit))
        if trial.finetune is not None:
            for _ in trial.finetune_at:
                total += training_work(trial, trial.finetune)
        return total
    for sparsity in trial.training.events().values():
        total += TrialWork(fit + prune if sparsity is not None else cap.FitWork())
    return total + training_work(trial, trial.training)


def group_seconds(group: Sequence[Trial], rates: Rates) -> list[float]:
    """Returns how long each trial of a group takes, which share what they can, in this order."""
    seconds, summed = [], False
    for trial in group:
        shares = trial.resolve().pruner().shares_gram
        seconds.append(trial_work(trial, shared=summed and shares).seconds(rates))
        summed |= shares
    return seconds


def fit_bytes(trial: Trial) -> cap.FitBytes:
    """Returns the memory of a fit beside the model and its activations."""
    return trial.resolve().pruner().fit_bytes(_fit_size(trial))


def _fit_size(trial: Trial) -> cap.FitSize:
    size, calibration = model_size(trial.resolve().model), trial.calibration
    per_gradient = calibration.batch_size if calibration.gradient == "batch" else 1
    return cap.FitSize(size.macs, size.weights, calibration.images, per_gradient, size.largest_layer, size.layers)


def storage(trial: Trial) -> int:
    """Returns the bytes that a trial leaves on disk: its rows, and with pruning in training each measured model."""
    size = model_size(trial.resolve().model)
    kept = len(trial.patterns) * (4 * size.parameters + size.weights) if trial.training is not None else 0
    return ROWS + kept


def checkpoint_bytes(trial: Trial) -> int:
    """Returns the bytes that a trial's checkpoints take while it runs: weights, optimiser, masks, two of each."""
    size = model_size(trial.resolve().model)
    return 2 * (12 * size.parameters + size.weights) if trial.recipe is not None else 0
