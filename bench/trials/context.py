"""Working context of one trial: all that its steps read."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import cap
from bench.core.peak_memory import start_peak
from bench.core.timing import seconds_since
from bench.data.inputs import Inputs
from bench.evaluation.accuracy import Accuracy, evaluate
from bench.evaluation.macs import MACs
from bench.models.sparse_file import dense_bytes, sparse_bytes
from bench.specs.trial import ResolvedTrial
from bench.trials.cost import FitCost
from bench.trials.measurement import LayerCount, Measurement, TrainingSummary
from bench.trials.progress import FitProgress, ProgressReporter
from bench.trials.session import DenseModel, SharedCalibration
from bench.trials.structured import cut_zeros, find_invalid_units, has_units, measure_cut, merge_steps
from bench.trials.validity import find_invalid
from cap.batch_norm import reestimate_batch_norm
from cap.pruned_weights import check_form
from cap.quantization import Int8Layer
from cap.structured import UnitGroup, UnitPruner, unit_violations
from cap.training.accelerator import Compute


@dataclass(frozen=True)
class ExecutionConfig:
    """Means of a trial, on which its results do not depend.

    Attributes:
        device: torch device.
        memory_budget: Bytes that a fit may take; None for what the device has free less a margin.
        micro_batch: Training images of this process in one forward pass; None for its share of a whole batch.
        folder: Folder of the trial's checkpoints and models; None to keep none.
        checkpoint_interval: Seconds between two checkpoints within an epoch.
        on_progress: Function that shows how far a fit or a training is; None to show none. A process that is sent the
            settings sets its own.
        expected_top1: {model: dense top-1 that the user expects, percent}, which the gate then holds it to.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.
        keep_models: Whether the models that are measured in training with pruning are kept as files.
    """

    device: str = "cpu"
    memory_budget: int | None = None
    micro_batch: int | None = None
    folder: Path | None = None
    checkpoint_interval: float = 600.0
    on_progress: Callable[[FitProgress], None] | None = None
    expected_top1: Mapping[str, float] = field(default_factory=dict)
    compute: Compute = "auto"
    keep_models: bool = True


@dataclass(frozen=True)
class TrialContext:
    """Everything that the steps of a trial read; they write their results through a `TrialRecorder`.

    Attributes:
        resolved: The trial.
        dense: Dense model of the trial, left as it is.
        macs: Multiply-adds of the dense model.
        calibration: Images that the pruner sees.
        config: Means of the trial.
        reporter: Reports of how far the trial is.
        units: Units of the dense model, where a pattern of the trial removes some.
    """

    resolved: ResolvedTrial
    dense: DenseModel
    macs: MACs
    calibration: SharedCalibration
    config: ExecutionConfig
    reporter: ProgressReporter
    units: tuple[UnitGroup, ...] = ()

    @property
    def image(self) -> Tensor:
        """Blank input, (1, channels, height, width)."""
        return torch.zeros(1, *self.resolved.model.input_shape, device=self.config.device)

    @property
    def evaluation_inputs(self) -> Inputs:
        """Images that every state of the model is evaluated on."""
        return self.resolved.evaluation_inputs()

    def fit(self, model: nn.Module, units: tuple[UnitGroup, ...] = ()) -> tuple[cap.Pruner, FitCost]:
        """Fits the trial's pruner to a model, which is left as it is.

        Args:
            model: The model.
            units: Units of the model that may be removed, for a pruner that removes units.
        """
        shared, device = self.calibration, self.config.device
        self.seed("pruner")
        pruner = self.resolved.pruner()
        if isinstance(pruner, UnitPruner):
            pruner.units = units
        layers = cap.select_layers(model, self.resolved.model.prunable)
        images = shared.images
        images.memory_budget, images.device = self.config.memory_budget, torch.device(device)
        images.on_progress = self.reporter.fit if self.reporter.is_wanted else None
        peak = start_peak(torch.device(device))
        start, saved, computed = time.perf_counter(), images.seconds_saved, images.computed
        pruner.fit(copy.deepcopy(model), layers, images)  # a pruner may change its model
        saved = images.seconds_saved - saved
        peak_bytes = peak()
        if images.computed > computed:
            shared.peak_bytes = peak_bytes
        elif saved and peak_bytes is not None and shared.peak_bytes is not None:
            peak_bytes = max(peak_bytes, shared.peak_bytes)
        return pruner, FitCost(
            fit_seconds=seconds_since(start, device) + saved,  # as if it had shared nothing
            shared_seconds=saved,
            peak_bytes=peak_bytes,
            num_gradients=self._num_gradients(),
        )

    def expect(self, pruner: cap.Pruner, patterns: Sequence[cap.Pattern], fit: FitCost) -> FitCost:
        """Tells a fitted pruner which patterns come; returns the cost of the fit with that of work done ahead."""
        start = time.perf_counter()
        pruner.expect(patterns)
        return fit + FitCost(seconds_since(start, self.config.device), num_gradients=fit.num_gradients)

    def prune(
        self, pruner: cap.Pruner, pattern: cap.Pattern, fit: FitCost, model: nn.Module | None = None
    ) -> tuple[cap.PrunedWeights, FitCost]:
        """Reads the weights at a pattern off a fitted pruner.

        Args:
            pruner: The pruner.
            pattern: Pattern to prune to.
            fit: Cost of the fit.
            model: Model that it was fitted to, where the shapes of its weights are not those of the dense model.

        Returns:
            The weights, and the cost of the fit with that of this added.

        Raises:
            ValueError: If the pruner returns something else than weights and masks of the layers.
        """
        start = time.perf_counter()
        pruned = pruner.prune(pattern)
        took = seconds_since(start, self.config.device) - pruner.refit_seconds
        check_form(pruned, cap.select_layers(model or self.dense.model, self.resolved.model.prunable), pattern)
        read_off = FitCost(pruner.refit_seconds, prune_seconds=took, num_gradients=fit.num_gradients)
        return pruned, fit + read_off

    def prune_in_two_steps(
        self, pruner: cap.Pruner, pattern: cap.UnitsThen, fit: FitCost
    ) -> tuple[cap.PrunedWeights, FitCost]:
        """Removes units, cuts the model, fits the pruner anew to what is left, and prunes that.

        Returns:
            The weights in the shapes of the dense model, and the cost of both steps.
        """
        first, cost = self.prune(pruner, pattern.units, fit)
        zeroed = copy.deepcopy(self.dense.model)
        first.apply_to(zeroed)
        small = cut_zeros(zeroed, self.units, self.image)
        again, fit = self.fit(small)
        second, rest = self.prune(again, pattern.then, fit, small)
        return merge_steps(first, self.units, second), cost + rest

    def settle_batch_norm(self, model: nn.Module, cost: FitCost) -> FitCost:
        """Estimates the statistics of batch normalisation of a pruned model anew, where the trial asks for it.

        Returns:
            The cost of the pruning with the time that this took.
        """
        if self.resolved.trial.batch_norm == "kept":
            return cost
        start = time.perf_counter()
        reestimate_batch_norm(model, self.calibration.images)
        return replace(cost, prune_seconds=cost.prune_seconds + seconds_since(start, self.config.device))

    def seed(self, purpose: str) -> None:
        """Seeds what a pruner draws from: torch's default generator and that of the calibration images."""
        seed = self.resolved.trial.derived_seed(purpose)
        torch.manual_seed(seed)
        self.calibration.images.generator.manual_seed(seed)

    def _num_gradients(self) -> int | None:
        """Returns how many gradients the pruner uses, or None if it uses none."""
        options = self.resolved.trial.pruner_options
        return self.calibration.images.count(options["num_gradients"] or None) if "num_gradients" in options else None

    def measure_dense(self) -> Measurement:
        """Returns the measurement of the dense model."""
        size = dense_bytes(self.dense.model) if self.resolved.trial.quantization is not None else None
        counted = self._count(self.dense.model, "dense", self.dense.accuracy)
        return replace(counted, knn_top1=self.dense.knn_top1, pixel_knn_top1=self.dense.pixel_knn_top1, file_bytes=size)

    def measure(
        self,
        model: nn.Module,
        phase: str,
        pattern: cap.Pattern,
        cost: FitCost,
        masks: Mapping[str, Tensor] | None,
        training: TrainingSummary | None = None,
        int8: Mapping[str, Int8Layer] | None = None,
    ) -> Measurement:
        """Evaluates a pruned model.

        Args:
            model: The model.
            phase: `one_shot`, `finetuned`, `int8` or `int8_finetuned`.
            pattern: Pattern that it follows.
            cost: Cost of its pruning.
            masks: {name: keep-mask} of its pruning; None while all weights are free.
            training: Training after the pruning.
            int8: {parameter name: layer} of the layers in INT8.
        """
        spec, trial = self.resolved.model, self.resolved.trial
        weights = {name: model.get_parameter(name) for name in self.macs.layers}
        dense = {name: self.dense.model.get_parameter(name) for name in weights} if phase == "one_shot" else None
        if isinstance(pattern, cap.Units | cap.UnitsThen):
            invalid = find_invalid_units(self.units, weights, masks, pattern)
            violations = unit_violations(self.units, weights, pattern)
        else:
            invalid = find_invalid(weights, masks, pattern, dense)
            violations = cap.count_violations(weights, pattern)
        return replace(
            self._count(model, phase, evaluate(model, self.evaluation_inputs, on_progress=self.reporter.evaluation)),
            pattern=pattern,
            invalid=invalid,
            violations=violations,
            knn_top1=spec.knn_top1(model, self.config.device, trial.evaluation_images, trial.evaluation_split),
            file_bytes=sparse_bytes(model, int8) if trial.quantization is not None else None,
            cost=cost,
            training=training,
            int8=int8,
            cut=measure_cut(model, self.dense.model, self.units, self.image) if has_units(pattern) else None,
        )

    def _count(self, model: nn.Module, phase: str, accuracy: Accuracy) -> Measurement:
        """Returns the accuracy of a model with the counts of its weights and zeros."""
        weights = {name: model.get_parameter(name) for name in self.macs.layers}
        return Measurement(
            model=model,
            phase=phase,
            dense=self.dense.accuracy,
            accuracy=accuracy,
            macs=self.macs,
            layers={name: LayerCount(weight.numel(), int((weight == 0).sum())) for name, weight in weights.items()},
            parameters=sum(p.numel() for p in model.parameters()),
            nonzero=sum(int(p.count_nonzero()) for p in model.parameters()),
        )
