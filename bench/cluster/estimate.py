"""What trials will take: time, memory, storage. All estimates are made here.

A trial's work is counted in multiply-adds of a few kinds; a device does each kind at its own rate. The rates of two
processor cores were fitted to the committed results of the embedded profile, and the tests hold them to these. No GPU
was measured: those rates are assumptions, told as such wherever they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

import cap
from bench.evaluation.macs import count_macs
from bench.specs.profiles import get_profile
from bench.specs.recipes import TrainingSpec
from bench.specs.trial import Trial
from cap.fisher.factors import InverseFactor
from cap.fisher.gram import gram_bytes

FISHER = ("cap", "woodfisher", "fastcap")  # pruners that sum up blocks of the Fisher
LAYERWISE = ("wanda", "sparsegpt", "obc")  # pruners that see the layers' inputs alone
START = 20.0  # seconds until a job's first trial begins: libraries, model, data
ROWS = 64 * 1024  # bytes of a trial's two files


@dataclass(frozen=True)
class Rates:
    """What a device does in a second, in multiply-adds.

    Attributes:
        name: Of the device.
        measured: Whether the rates were measured, or are assumed.
        inference: Forward passes in float32.
        gradients: Passes that give each image's gradients, in float32.
        training: Passes of training with the recipe's precision.
        gram: Sums of gradient products.
        solve: Factors, elimination, and reading off weights.
        image_seconds: Decoding and augmenting one training image, with the cores that come with the device.
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
class Size:
    """A model in numbers.

    Attributes:
        macs: Multiply-adds of a forward pass for one image.
        weights: Weights that are pruned.
        parameters: All parameters.
    """

    macs: int
    weights: int
    parameters: int


@cache
def size(profile: str, model: str) -> Size:
    """Measures a model's architecture; it needs neither its weights nor memory for them."""
    spec = get_profile(profile).model(model)
    with torch.device("meta"):
        net = spec.build()
        image = torch.zeros(1, *spec.input_shape)
    layers = cap.select_layers(net, spec.prunable)
    total = sum(p.numel() for p in net.parameters())
    return Size(count_macs(net, layers, image).total, sum(w.numel() for w in layers.values()), total)


@dataclass(frozen=True)
class Work:
    """What a trial computes, in multiply-adds of each kind of `Rates`, and the images it trains on."""

    inference: float = 0.0
    gradients: float = 0.0
    training: float = 0.0
    gram: float = 0.0
    solve: float = 0.0
    images: float = 0.0  # decoded and augmented for training

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[float, ...]:
        return self.inference, self.gradients, self.training, self.gram, self.solve, self.images

    def seconds(self, rates: Rates) -> float:
        """Returns how long a device takes."""
        return (
            self.inference / rates.inference
            + self.gradients / rates.gradients
            + self.training / rates.training
            + self.gram / rates.gram
            + self.solve / rates.solve
            + self.images * rates.image_seconds
        )


def fit_work(trial: Trial) -> Work:
    """Returns the work of fitting the trial's pruner once."""
    found, name, how = size(trial.profile, trial.model), trial.pruner, trial.calibration
    m = trial.pruner_options.get("num_gradients") or how.images // (how.batch_size if how.gradient == "batch" else 1)
    block = trial.pruner_options.get("block_size", 1)
    images = m * (how.batch_size if how.gradient == "batch" else 1)
    gradients = Work(gradients=3 * found.macs * images)
    times = trial.pruner_options.get("num_recomputations", 1)
    if name == "magnitude":
        return Work()
    if name == "mfac":
        return Work(gradients=gradients.gradients * times, gram=m**2 * found.weights * times)
    if name in LAYERWISE:
        return Work(inference=2 * found.macs * how.images, solve=found.weights * block)
    if name in FISHER:
        return Work(
            gradients=gradients.gradients * times,
            gram=m * block * found.weights * times,
            solve=block**2 * found.weights * times,
        )
    return gradients  # of a pruner that nothing else is known of


def training_work(trial: Trial, how: TrainingSpec) -> Work:
    """Returns the work of one training run."""
    images = how.images * how.epochs
    return Work(training=3 * size(trial.profile, trial.model).macs * images, images=images)


def work(trial: Trial, shared: bool = False) -> Work:
    """Returns the work of a trial; with `shared`, another trial of its group has summed up the gradients already."""
    fit = fit_work(trial)
    if shared:
        fit = Work(inference=fit.inference, solve=fit.solve)
    states = len(trial.patterns) + len(trial.finetune_at)
    resolved = trial.resolve()
    images = resolved.model.evaluation_passes(resolved.test_images)
    total = Work(inference=size(trial.profile, trial.model).macs * images * states)
    if trial.training is None:
        total += fit
        if trial.finetune is not None:
            for _ in trial.finetune_at:
                total += training_work(trial, trial.finetune)
        return total
    for sparsity in trial.training.events().values():
        total += fit if sparsity is not None else Work()
    return total + training_work(trial, trial.training)


def group_seconds(group: Sequence[Trial], rates: Rates) -> list[float]:
    """Returns how long each trial of a group takes, which share what they can, in this order."""
    seconds, summed = [], False
    for trial in group:
        seconds.append(work(trial, shared=summed and trial.pruner in FISHER).seconds(rates))
        summed |= trial.pruner in FISHER
    return seconds


def fit_bytes(trial: Trial) -> tuple[int, int]:
    """Returns the memory of a fit of the Fisher beside the model and its activations.

    Returns:
        Bytes at the least, with a pass over the gradients for each small part of the weights, and with one for all.
        Other pruners take next to nothing, M-FAC all gradients at once.
    """
    weights, options = size(trial.profile, trial.model).weights, trial.pruner_options
    m = options.get("num_gradients") or trial.calibration.images
    if trial.pruner == "mfac":
        return 4 * m * weights, 4 * m * weights
    if trial.pruner not in FISHER:
        return 0, 0
    block = options["block_size"]
    kept = weights * (InverseFactor.bytes_per_weight(block) + 20)
    return int(kept), int(kept + weights * gram_bytes(block, m, 4))


def storage(trial: Trial) -> int:
    """Returns the bytes that a trial leaves on disk: its rows, and with pruning in training each measured model."""
    found = size(trial.profile, trial.model)
    kept = len(trial.patterns) * (4 * found.parameters + found.weights) if trial.training is not None else 0
    return ROWS + kept


def checkpoint_bytes(trial: Trial) -> int:
    """Returns the bytes that a trial's checkpoints take while it runs: weights, optimiser, masks, two of each."""
    found = size(trial.profile, trial.model)
    return 2 * (12 * found.parameters + found.weights) if trial.recipe is not None else 0
