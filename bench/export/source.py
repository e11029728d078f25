"""Pruned models to export: from a one-shot trial, or from what training with pruning left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.core.errors import UserError, first_mistake
from bench.data.inputs import stack_batches
from bench.evaluation.accuracy import evaluate
from bench.execution.preflight import check_pruner, check_trials, skipped_patterns
from bench.export.small import build_small
from bench.models import ModelSpec
from bench.models.pruned_file import load_pruned
from bench.results.schema import ResultRow
from bench.specs.profiles import get_profile
from bench.specs.recipes import QuantizationSpec
from bench.specs.sweep import EXPORT
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.int8 import int8_layers, observed, quantized
from bench.trials.measurement import Measurement
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial
from bench.trials.structured import has_units
from cap.layers import select_layers
from cap.quantization import Int8Layer
from cap.structured import cut, find_units, removed_units


@dataclass(frozen=True)
class PrunedModel:
    """Pruned model and where it comes from.

    Attributes:
        spec: Specification of the dense model.
        model: Pruned model on the CPU, in eval mode; an INT8 model computes so.
        masks: Keep-masks, {parameter name: mask, 1 = kept}.
        row: Result row of the model.
        int8: INT8 layers, {parameter name: layer}; empty for single precision.
        removed: Units that the model lacks, {name of the group: units}; empty where none were pruned.
    """

    spec: ModelSpec
    model: nn.Module
    masks: dict[str, Tensor]
    row: ResultRow
    int8: Mapping[str, Int8Layer] = field(default_factory=dict)
    removed: Mapping[str, list[int]] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Returns the architecture with random weights, in eval mode, without the units that the model lacks."""
        return build_small(self.spec, self.removed) if self.removed else self.spec.build().eval()


def one_shot_trial(
    profile: str,
    model: str,
    pruner: str,
    options: Mapping[str, Any],
    pattern: str,
    seed: int = 0,
    finetune: bool = False,
    int8: bool = False,
) -> Trial:
    """Returns the trial that prunes a model at once, with the profile's settings.

    Args:
        profile: Name of a profile of `bench.specs.profiles.PROFILES`.
        model: Name of a model of the profile.
        pruner: Name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: Options of the pruner; they take precedence over what the profile sets.
        pattern: Sparsity pattern as `cap.parse_pattern` reads it.
        seed: Seed of the calibration images and the training.
        finetune: Whether to train after pruning; with `int8` in INT8.
        int8: Whether to quantize weights and activations.

    Raises:
        UserError: If one of these is not valid.
    """
    settings = get_profile(profile)
    settings.model(model)
    check_pruner(pruner, options)
    if int8 and finetune and settings.recipes.quantization is None:
        raise UserError(f"--finetune --int8: profile {profile} has no training in INT8")
    try:
        return Trial(
            sweep=EXPORT,
            profile=profile,
            model=model,
            pruner=pruner,
            pruner_options={**settings.pruner_options(pruner), **options},
            patterns=(pattern,),
            finetune_at=(pattern,) if finetune and not int8 else (),
            finetune=settings.recipes.finetune if finetune and not int8 else None,
            quantization=(settings.recipes.quantization if finetune else QuantizationSpec()) if int8 else None,
            calibration=settings.calibration,
            seed=seed,
        )
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None
    except ValueError as error:
        raise UserError(str(error)) from None


def check_trial(trial: Trial) -> None:
    """Makes sure, before any work, that a trial can run and leaves weights.

    Raises:
        UserError: If it cannot, or the pruner or the model cannot do what is asked.
    """
    check_trials((trial,))
    for line in skipped_patterns((trial,)):
        raise UserError(line)


def dense_bytes(source: Trial | Path | str) -> int:
    """Returns about how many bytes a model's state takes in single precision; 0 where the file of it is missing."""
    if isinstance(source, Trial):
        return sum(tensor.nbytes for tensor in source.resolve().model.outline().state_dict().values())
    return Path(source).stat().st_size if Path(source).is_file() else 0


def run(trial: Trial, device: str = "cpu") -> PrunedModel:
    """Runs a trial and returns its last pruned model.

    Raises:
        UserError: If the pruner cannot prune so, or ends this process.
    """
    states: list[tuple[Measurement, ResultRow]] = []
    resolved = trial.resolve()
    recorder = TrialRecorder(resolved, device, lambda measured, row: states.append((measured, row)))
    try:
        run_trial(trial, recorder, ExecutionConfig(device))
    except SystemExit as raised:
        raise UserError(f"{trial.pruner} ends the process: SystemExit: {raised.code}") from None
    if not states:
        raise UserError(f"{trial.pruner} cannot prune to {trial.patterns[-1]}: {recorder.rows[-1].error}")
    measured, row = states[-1]
    if measured.invalid is not None:
        raise UserError(f"{trial.pruner} does not prune to {row.pattern}: {measured.invalid}")
    model = measured.model.cpu().eval()
    removed: dict[str, list[int]] = {}
    if measured.pattern is not None and has_units(measured.pattern) and not measured.int8:
        model, removed = _without_units(model, resolved.model)
    masks = {name: weight != 0 for name, weight in select_layers(model, resolved.model.prunable).items()}
    return PrunedModel(resolved.model, model, masks, row, measured.int8 or {}, removed)


def _without_units(model: nn.Module, spec: ModelSpec) -> tuple[nn.Module, dict[str, list[int]]]:
    """Returns the smaller model without the units that are zero, and these."""
    layers, image = select_layers(model, spec.prunable), torch.zeros(1, *spec.input_shape)
    units = find_units(model, layers, image)
    removed = removed_units(units, layers)
    return cut(model, units, removed, image), {name: gone.tolist() for name, gone in removed.items()}


def load(path: Path, int8: bool = False) -> PrunedModel:
    """Loads what training with pruning left beside its results: `runs/PROFILE/SWEEP/TRIAL/PATTERN.safetensors`.

    Args:
        path: File to load.
        int8: Whether to quantize weights and activations, with ranges on the trial's calibration images.

    Raises:
        UserError: If it is no such file, its trial's rows are missing, or its accuracy is not the one in them.
    """
    row = _row_of(path)
    assert row.profile is not None
    assert row.model is not None
    assert row.top1 is not None
    spec = get_profile(row.profile).model(row.model)
    spec = spec if row.dense_seed is None else spec.with_seed(row.dense_seed)
    state = load_pruned(path)
    model = spec.build().eval()
    model.load_state_dict(state.weights)
    inputs = spec.evaluation_inputs(row.n_images, row.split or "test")
    top1 = evaluate(model, inputs).top1
    if abs(top1 - row.top1) > spec.gate:
        raise UserError(f"{path} has {top1:.2f} % top-1, but its row says {row.top1:.2f} %: it is of another run")
    pruned = PrunedModel(spec, model, state.masks, row)
    if not int8:
        return pruned
    layers = int8_layers(observed(model, calibration_images(pruned)))
    model = quantized(model, layers)
    accuracy = evaluate(model, inputs)
    row = dataclasses.replace(row, top1=accuracy.top1, top5=accuracy.top5, loss=accuracy.loss, phase="int8")
    return dataclasses.replace(pruned, model=model, row=row, int8=layers)


def calibration_images(pruned: PrunedModel) -> Tensor:
    """Returns the calibration images (n, channels, size, size) of the trial that a model comes from."""
    row = pruned.row
    assert row.calibration_images is not None
    assert row.seed is not None
    images, _ = stack_batches(pruned.spec.calibration_inputs(row.calibration_images, row.seed))
    return images


def _row_of(path: Path) -> ResultRow:
    """Returns the row of a file that training with pruning left.

    Raises:
        UserError: If the file, its trial's rows or its own row is missing.
    """
    trial = path.absolute().parent
    results = trial.with_name(f"{trial.name}.parquet")
    for needed in (path, results):
        if not needed.is_file():
            raise UserError(f"{needed} does not exist: give PATTERN.safetensors of a trial, its rows beside the folder")
    rows = [row for row in pq.read_table(results).to_pylist() if (row["pattern"], row["status"]) == (path.stem, "done")]
    if not rows:
        raise UserError(f"{results} has no row of the pattern {path.stem}")
    known = {field.name for field in dataclasses.fields(ResultRow)}
    missing = {name for name, value in rows[-1].items() if isinstance(value, float) and math.isnan(value)}
    return ResultRow(**{name: value for name, value in rows[-1].items() if name in known - missing})
