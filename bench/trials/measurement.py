"""Measurement of one state of a trial's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

import cap
from bench.evaluation.accuracy import Accuracy
from bench.evaluation.macs import MACs
from bench.trials.cost import FitCost
from bench.trials.structured import CutModel
from cap.quantization import Int8Layer


@dataclass(frozen=True)
class LayerCount:
    """Weights of one layer.

    Attributes:
        weights: Number of weights.
        zeros: Number of zeros among them.
    """

    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class TrainingSummary:
    """Amount of training behind a state of a model.

    Attributes:
        epochs: Number of epochs.
        images: Number of training images, counted each time they are seen.
        seconds: Time of the training, seconds.
        compute: Precision and layout that it computed with; None for the recipe's precision and nothing else.
    """

    epochs: int
    images: int
    seconds: float
    compute: str | None = None


@dataclass(frozen=True)
class LossIncrease:
    """Increase of the calibration loss by pruning.

    Attributes:
        predicted: Increase by the pruner's own model of the loss; None for a pruner without one.
        observed: Increase as measured.
    """

    predicted: float | None
    observed: float


@dataclass(frozen=True)
class Measurement:
    """Measurement of one state of a trial's model.

    Attributes:
        model: The model; whoever keeps it copies it.
        phase: `dense`, `one_shot`, `finetuned`, `int8` or `int8_finetuned`.
        dense: Accuracy of the dense model.
        accuracy: Accuracy of this one.
        macs: Multiply-adds of the dense model.
        layers: {parameter name: weights and zeros} of the layers that are pruned.
        parameters: Number of parameters.
        nonzero: Number of parameters that are not zero.
        pattern: Pattern of a pruned model.
        violations: Number of weights that break the pattern.
        invalid: Why the model does not count as one at its pattern; None if it does.
        knn_top1: Accuracy of the features' nearest neighbours, percent; None where it is not measured.
        pixel_knn_top1: Accuracy of raw pixels by nearest neighbours, percent; None where it is not measured.
        file_bytes: Size of the model as a file, bytes; None where it is not measured.
        cost: Cost of the pruning.
        training: Training after the pruning.
        loss: Increase of the calibration loss.
        int8: {parameter name: layer} of the layers in INT8.
        cut: Smaller model without the removed units; None where the pattern has none.
    """

    model: nn.Module
    phase: str
    dense: Accuracy
    accuracy: Accuracy
    macs: MACs
    layers: Mapping[str, LayerCount]
    parameters: int
    nonzero: int
    pattern: cap.Pattern | None = None
    violations: int | None = None
    invalid: str | None = None
    knn_top1: float | None = None
    pixel_knn_top1: float | None = None
    file_bytes: int | None = None
    cost: FitCost | None = None
    training: TrainingSummary | None = None
    loss: LossIncrease | None = None
    int8: Mapping[str, Int8Layer] | None = None
    cut: CutModel | None = None
