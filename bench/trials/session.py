"""Dense models and calibration images that the trials of one process share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

import cap
from bench.data.inputs import stack_batches
from bench.evaluation.accuracy import Accuracy, ShowEvaluation, evaluate
from bench.specs.trial import ResolvedTrial
from bench.trials.gate import Gate

LOSS_IMAGES = 4096  # of augmented images those that are held for the calibration loss


@dataclass(frozen=True)
class DenseModel:
    """A dense model and its accuracy.

    Attributes:
        model: The model on its device, in eval mode; nobody changes it.
        accuracy: Accuracy on the evaluated images.
        knn_top1: Accuracy of the features' nearest neighbours, percent; None where it is not measured.
        pixel_knn_top1: Accuracy of raw pixels by nearest neighbours, likewise.
        gate: What the accuracy was held against.
    """

    model: nn.Module
    accuracy: Accuracy
    knn_top1: float | None
    pixel_knn_top1: float | None
    gate: Gate


@dataclass
class SharedCalibration:
    """Calibration images, and what the fits on them have in common.

    Attributes:
        images: Calibration images as the pruners see them.
        peak_bytes: Peak memory of the fit that computed what the others share.
    """

    images: cap.Calibration
    peak_bytes: int | None = None

    @cached_property
    def for_loss(self) -> cap.Calibration:
        """Images that the calibration loss is measured on: all, or the first of those that memory does not hold."""
        if not isinstance(self.images.inputs, cap.StreamedInputs):
            return self.images
        first = self.images.inputs[:LOSS_IMAGES].clone()
        return cap.Calibration(first, self.images.labels[:LOSS_IMAGES], self.images.loss)


class TrialSession:
    """Dense models and calibration images of trials that run one after another.

    Args:
        device: torch device.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._dense: dict[tuple[str | float | None, ...], DenseModel] = {}
        self._calibration: tuple[str, SharedCalibration] | None = None

    def dense(
        self, resolved: ResolvedTrial, expected_top1: float | None = None, on_progress: ShowEvaluation | None = None
    ) -> DenseModel:
        """Returns a trial's dense model, evaluated.

        Args:
            resolved: The trial.
            expected_top1: Accuracy that the user expects of it, percent; None for the recorded one.
            on_progress: Function that is told how far the evaluation is.

        Raises:
            GateError: If its top-1 differs from that.
        """
        trial = resolved.trial
        key = (*trial.dense_key, trial.evaluation_split, trial.evaluation_images, expected_top1)
        if key not in self._dense:
            self._dense[key] = load_dense(resolved, self.device, expected_top1, on_progress)
        return self._dense[key]

    def calibration(self, resolved: ResolvedTrial, share: bool) -> SharedCalibration:
        """Returns a trial's calibration images.

        Args:
            resolved: The trial.
            share: Whether what is computed on them is kept for the next trial of the group.
        """
        group = resolved.trial.group
        if self._calibration is None or self._calibration[0] != group:
            self._calibration = None  # frees the last ones before the next are drawn
            self._calibration = (group, SharedCalibration(draw_calibration(resolved, share=True)))
        shared = self._calibration[1]
        return shared if share else SharedCalibration(unshared(shared.images))

    def forget_calibration(self) -> None:
        """Frees the calibration images and what was computed on them."""
        self._calibration = None


def load_dense(
    resolved: ResolvedTrial,
    device: str = "cpu",
    expected_top1: float | None = None,
    on_progress: ShowEvaluation | None = None,
) -> DenseModel:
    """Loads a trial's dense model onto a device and evaluates it.

    Args:
        resolved: The trial.
        device: Torch device.
        expected_top1: Accuracy that the user expects of it, percent; None for the recorded one.
        on_progress: Function that is told how far the evaluation is.

    Raises:
        GateError: If its top-1 differs from that.
    """
    spec, trial = resolved.model, resolved.trial
    model = spec.load(device)
    accuracy = evaluate(model, resolved.evaluation_inputs(), on_progress=on_progress)
    gate = Gate.of(resolved, expected_top1)
    gate.check(resolved, accuracy)
    knn_top1 = spec.knn_top1(model, device, trial.evaluation_images, trial.evaluation_split)
    pixels = spec.pixel_knn_top1(device, trial.evaluation_images, trial.evaluation_split)
    return DenseModel(model, accuracy, knn_top1, pixels, gate)


def draw_calibration(resolved: ResolvedTrial, share: bool) -> cap.Calibration:
    """Draws a trial's calibration images from the training set.

    Args:
        resolved: The trial.
        share: Whether what is computed on them is kept for the next fit.
    """
    trial, spec = resolved.trial, resolved.trial.calibration
    images: Tensor | cap.StreamedInputs
    if spec.augmentation is not None:
        drawn = resolved.model.streamed_inputs(spec.images, trial.seed)
        images, labels = cap.StreamedInputs(drawn.load, torch.arange(len(drawn.labels))), drawn.labels
    else:
        images, labels = stack_batches(resolved.model.calibration_inputs(spec.images, trial.seed))
    return cap.Calibration(
        images,
        labels,
        batch_size=spec.batch_size,
        gradient=spec.gradient,
        seed=trial.derived_seed("calibration order"),
        share=share,
        label_source=spec.label_source,
    )


def unshared(images: cap.Calibration) -> cap.Calibration:
    """Returns the same calibration images, with nothing kept for the next fit."""
    return cap.Calibration(
        images.inputs,
        images.labels,
        images.loss,
        batch_size=images.batch_size,
        gradient=images.gradient,
        seed=images.seed,
        label_source=images.label_source,
    )
