"""Estimates of what trials will take: time, memory, storage.

A trial's work is counted in multiply-adds of a few kinds; a device does each kind at its own rate (`rates.py`). Images
that are decoded take the time of the processor's cores.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import nn

import cap
from bench.cluster.rates import Rates
from bench.data.stream import shape_of
from bench.evaluation.macs import count_macs
from bench.models import ModelSpec
from bench.specs.recipes import TrainingSpec
from bench.specs.trial import Trial
from bench.trials.session import LOSS_IMAGES
from cap.training.accelerator import is_convolutional

START = 20.0  # seconds until a job's first trial begins: libraries, model, data
ROWS = 64 * 1024  # bytes of a trial's two files


@dataclass(frozen=True)
class ModelSize:
    """A model in numbers.

    Attributes:
        macs: Multiply-adds of a forward pass for one image.
        weights: Number of weights that are pruned.
        largest_layer: Number of weights in the largest layer of these.
        parameters: Number of all parameters.
        layers: Number of layers that are pruned.
        convolutional: Whether it is mostly made of convolutions.
    """

    macs: int
    weights: int
    largest_layer: int
    parameters: int
    layers: int
    convolutional: bool


@cache
def model_size(spec: ModelSpec) -> ModelSize:
    """Measures a model's architecture; it needs neither its weights nor memory for them."""
    net = spec.outline()
    image = torch.zeros(1, *spec.input_shape, device=next(net.parameters()).device)
    layers = cap.select_layers(net, spec.prunable)
    total, sizes = sum(p.numel() for p in net.parameters()), [w.numel() for w in layers.values()]
    macs = count_macs(net, layers, image).total
    return ModelSize(macs, sum(sizes), max(sizes), total, len(sizes), is_convolutional(net))


@cache
@torch.no_grad()
def count_activations(spec: ModelSpec) -> int:
    """Returns how many values a model's modules without children put out for an image, which training keeps."""
    net, counts = spec.outline().eval(), list[int]()
    image = torch.zeros(1, *spec.input_shape, device=next(net.parameters()).device)

    def count(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            counts.append(output.numel())

    for module in net.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    net(image)
    return sum(counts)


@dataclass(frozen=True)
class TrialWork:
    """Work of a trial, in multiply-adds.

    Attributes:
        fit: Work of all fits of the pruner.
        evaluation: Forward passes of evaluations, in float32.
        training: Forward and backward passes of training, with the recipe's precision.
        training_images: Number of images that are augmented for training, and need not be decoded.
        decoded_for_training: Number of images that are decoded and augmented for training.
        decoded_for_evaluation: Number of images that are decoded for evaluations.
        decoded_for_fits: Number of images that are decoded and augmented for gradients of fits.
    """

    fit: cap.FitWork = field(default_factory=cap.FitWork)
    evaluation: float = 0.0
    training: float = 0.0
    training_images: float = 0.0
    decoded_for_training: float = 0.0
    decoded_for_evaluation: float = 0.0
    decoded_for_fits: float = 0.0

    def __add__(self, other: TrialWork) -> TrialWork:
        return TrialWork(
            self.fit + other.fit,
            self.evaluation + other.evaluation,
            self.training + other.training,
            self.training_images + other.training_images,
            self.decoded_for_training + other.decoded_for_training,
            self.decoded_for_evaluation + other.decoded_for_evaluation,
            self.decoded_for_fits + other.decoded_for_fits,
        )

    def seconds(self, rates: Rates, cores: int = 1) -> float:
        """Returns how long a device takes.

        Cores decode images while a card computes, and the slower of the two counts; a processor does both itself.

        Args:
            rates: Rates of the device.
            cores: Number of cores that decode for it.
        """
        each = 1 / (rates.decoded * cores)
        both = max if rates.memory_gib is not None else operator.add
        return (
            self.fit.inference / rates.inference
            + both(self.evaluation / rates.inference, self.decoded_for_evaluation * each)
            + both(self.fit.gradients / rates.gradients, self.decoded_for_fits * each)
            + both(self.training / rates.training, self.decoded_for_training * each)
            + self.fit.gram / rates.gram
            + self.fit.solve / rates.solve
            + self.training_images * rates.image_seconds
        )

    @property
    def decoded(self) -> float:
        """Number of images that are decoded."""
        return self.decoded_for_training + self.decoded_for_evaluation + self.decoded_for_fits


def training_work(trial: Trial, recipe: TrainingSpec) -> TrialWork:
    """Returns the work of one training run."""
    model = trial.resolve().model
    card = model.data_card()
    images = recipe.epochs * (recipe.images if card is None else min(recipe.images, card.train))
    work = 3 * model_size(model).macs * images
    if model.decodes:
        return TrialWork(training=work, decoded_for_training=images)
    return TrialWork(training=work, training_images=images)


def evaluation_work(trial: Trial) -> TrialWork:
    """Returns the work of evaluating one state of the model."""
    resolved = trial.resolve()
    images = resolved.model.evaluation_passes(resolved.num_evaluated)
    decoded = images if resolved.model.decodes else 0
    return TrialWork(evaluation=model_size(resolved.model).macs * images, decoded_for_evaluation=decoded)


def trial_work(trial: Trial, shared: bool = False) -> TrialWork:
    """Returns the work of a trial, without the evaluation of the dense model.

    Args:
        trial: The trial.
        shared: Whether another trial of its group has summed up the gradients already.
    """
    pruner, size = trial.resolve().pruner(), _fit_size(trial)
    fit, prune = pruner.work(size), pruner.prune_work(size)
    if shared:
        fit = cap.FitWork(inference=fit.inference, solve=fit.solve)
    states = len(trial.patterns) + len(trial.finetune_at)
    total = sum([evaluation_work(trial)] * states, TrialWork())
    if trial.training is None:
        done = sum([prune] * len(trial.patterns), fit + _loss_work(trial))
        total += TrialWork(done, decoded_for_fits=_decoded_for(trial, fit))
        if trial.finetune is not None:
            for _ in trial.finetune_at:
                total += training_work(trial, trial.finetune)
        return total
    for sparsity in trial.training.events().values():
        if sparsity is not None:
            total += TrialWork(fit + prune, decoded_for_fits=_decoded_for(trial, fit))
    return total + training_work(trial, trial.training)


def rebuilding_work(trial: Trial) -> TrialWork:
    """Returns the work of one round that makes the factors again to prune, where none are kept: that of the fit."""
    fit = trial.resolve().pruner().work(_fit_size(trial))
    return TrialWork(fit, decoded_for_fits=_decoded_for(trial, fit))


def _loss_work(trial: Trial) -> cap.FitWork:
    """Returns the work of the calibration loss, of the dense model and at each pattern."""
    images = trial.calibration.images
    images = images if trial.calibration.augmentation is None else min(images, LOSS_IMAGES)
    return cap.FitWork(inference=model_size(trial.resolve().model).macs * images * (1 + len(trial.patterns)))


def _decoded_for(trial: Trial, fit: cap.FitWork) -> float:
    """Returns the number of images that are decoded for the gradients of a fit, where they are not held in memory."""
    if trial.calibration.augmentation is None:
        return 0.0
    return fit.gradients / (3 * model_size(trial.resolve().model).macs)  # forward and backward


def group_work(group: Sequence[Trial]) -> list[TrialWork]:
    """Returns the work of each trial of a group, which share what they can, in this order: the dense model, too."""
    works, summed, made = [], False, dict[Hashable, float]()
    for number, trial in enumerate(group):
        shares = trial.resolve().pruner().shares_gram
        work = trial_work(trial, shared=summed and shares)
        work = replace(work, training_images=_to_augment(trial, work.training_images, made))
        works.append(work if number else work + evaluation_work(trial))
        summed |= shares
    return works


def _to_augment(trial: Trial, images: float, made: dict[Hashable, float]) -> float:
    """Returns how many images are augmented for a trial, without those that `bench.data.made_batches` has.

    Args:
        trial: The trial.
        images: Images of all its trainings.
        made: Images that the trials before it made, {what shapes them: number}; those of this one are added.
    """
    if (recipe := trial.recipe) is None or not trial.resolve().model.shares_batches:
        return images
    each = images / (len(trial.finetune_at) if trial.training is None else 1)
    shape = shape_of(recipe)
    known = made.get(shape, 0.0)
    made[shape] = max(known, each)
    return max(0.0, each - known)


def group_seconds(group: Sequence[Trial], rates: Rates, cores: int = 1) -> list[float]:
    """Returns how long each trial of a group takes, which share what they can, in this order.

    Args:
        group: The trials.
        rates: Rates of the device.
        cores: Number of cores that decode images for it.
    """
    return [work.seconds(rates, cores) for work in group_work(group)]


def fit_bytes(trial: Trial) -> cap.FitBytes:
    """Returns the memory of a fit beside the model and its activations."""
    return trial.resolve().pruner().fit_bytes(_fit_size(trial))


def least_bytes(trial: Trial) -> int:
    """Returns the memory that a fit cannot do without: with kept factors where a pattern needs those."""
    fit, kinds = fit_bytes(trial), (cap.Units, cap.UnitsThen, cap.Blocks)
    return fit.least if any(isinstance(cap.parse_pattern(one), kinds) for one in trial.patterns) else fit.minimum


def _fit_size(trial: Trial) -> cap.FitSize:
    size, calibration = model_size(trial.resolve().model), trial.calibration
    per_gradient = calibration.batch_size if calibration.gradient == "batch" else 1
    return cap.FitSize(size.macs, size.weights, calibration.images, per_gradient, size.largest_layer, size.layers)


def training_bytes(trial: Trial, images: int) -> int:
    """Returns the memory of training: weights, gradients, two averages of the optimiser, and what images leave behind.

    Args:
        trial: The trial.
        images: Number of images in one forward pass.
    """
    if trial.recipe is None:
        return 0
    model, each = trial.resolve().model, 4 if trial.recipe.precision == "float32" else 2
    return 16 * model_size(model).parameters + images * count_activations(model) * each


def storage(trial: Trial, keep_models: bool = True) -> int:
    """Returns the bytes that a trial leaves on disk: its rows, and the models that it keeps.

    Args:
        trial: The trial.
        keep_models: Whether models are kept.
    """
    return ROWS + (kept_bytes(trial) if keep_models else 0)


def kept_bytes(trial: Trial) -> int:
    """Returns the bytes of the models that a trial keeps: with pruning in training each that is measured."""
    if trial.training is None:
        return 0
    size = model_size(trial.resolve().model)
    return len(trial.patterns) * (4 * size.parameters + size.weights)


def checkpoint_bytes(trial: Trial) -> int:
    """Returns the bytes that a trial's checkpoints take while it runs: weights, optimiser, masks, two of each."""
    size = model_size(trial.resolve().model)
    return 2 * (12 * size.parameters + size.weights) if trial.recipe is not None else 0
