"""Runs one trial from start to rows."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import cap
from bench.core import distributed, provenance
from bench.core.peak_memory import start_peak
from bench.core.timing import seconds_since
from bench.data.fashion_mnist import stack_batches
from bench.evaluation.accuracy import Accuracy, Cost, count_macs, evaluate, mean_loss
from bench.models import ModelSpec, get_model
from bench.models.sparse_file import dense_bytes, sparse_bytes
from bench.specs.calibration import CalibrationSpec
from bench.specs.trial import Trial
from bench.trials.int8 import measure_int8
from bench.trials.progress import TrialCheckpointer
from bench.trials.training_loop import prune_in_training, start_training, train
from cap.quantization import Int8Layer

logger = logging.getLogger(__name__)

Keep = Callable[[nn.Module, "Mapping[str, Int8Layer] | None", dict[str, Any]], None]


class GateError(Exception):
    """The dense model does not reach its recorded accuracy, so nothing that follows would mean anything."""


@cache
def load_dense(profile: str, name: str, device: str = "cpu") -> tuple[nn.Module, Accuracy]:
    """Loads a dense model onto a device and evaluates it; once per process.

    Raises:
        GateError: If its top-1 differs from the recorded one.
    """
    spec = get_model(profile, name)
    model = spec.load(device)
    accuracy = evaluate(model, spec.inputs("test"))
    recorded = spec.recorded_top1()
    if recorded is None:
        logger.warning("%s reaches %.2f %% top-1; none is on record to hold it against", name, accuracy.top1)
    elif abs(accuracy.top1 - recorded) > spec.gate:
        raise GateError(
            f"{name} reaches {accuracy.top1:.2f} % top-1, but {recorded:.2f} % is recorded for its weights: "
            "the data, the weights or the libraries are not those it was trained with"
        )
    return model, accuracy


@cache
def dense_knn_top1(profile: str, name: str, device: str) -> float | None:
    """Returns the nearest-neighbour accuracy of a dense model; once per process."""
    return get_model(profile, name).knn_top1(load_dense(profile, name, device)[0], device)


@dataclass
class SharedCalibration:
    """The calibration images of a trial group.

    Attributes:
        calibration: What the pruners see.
        peak: Peak memory of the fit that computed what the others share.
    """

    calibration: cap.Calibration
    peak: int | None = None


@lru_cache(maxsize=1)
def load_calibration(
    profile: str, model: str, how: CalibrationSpec, image_seed: int, order_seed: int
) -> SharedCalibration:
    """Draws calibration images from the training set; once for the trials of a group that run one after another."""
    images, labels = stack_batches(get_model(profile, model).inputs("train").subset(how.images, image_seed))
    return SharedCalibration(
        cap.Calibration(
            images,
            labels,
            batch_size=how.batch_size,
            gradient=how.gradient,
            seed=order_seed,
        )
    )


@lru_cache(maxsize=1)
def _architecture(profile: str, name: str) -> nn.Module:
    return get_model(profile, name).build()


def plan(trial: Trial, memory_budget: int, share: bool) -> cap.MemoryPlan | None:
    """Plans the fit of a trial within a memory budget, without its images.

    Raises:
        ValueError: If the budget is too small.
    """
    spec = get_model(trial.profile, trial.model)
    model = _architecture(trial.profile, trial.model)
    how = trial.calibration
    calibration = cap.Calibration(
        torch.zeros(1, *spec.input_shape).expand(how.images, *spec.input_shape),
        torch.zeros(how.images, dtype=torch.int64),
        batch_size=how.batch_size,
        gradient=how.gradient,
        share=share,
    )
    pruner = cap.create(trial.pruner, **trial.pruner_options)
    return pruner.plan(model, cap.select_layers(model, spec.prunable), calibration, memory_budget)


class TrialRecorder:
    """Collects the rows of one trial; every row carries all that identifies it."""

    def __init__(self, trial: Trial, device: str) -> None:
        spec = get_model(trial.profile, trial.model)
        self.rows: list[dict[str, Any]] = []
        self.layer_rows: list[dict[str, Any]] = []
        self.common: dict[str, Any] = {
            "sweep": trial.sweep,
            "profile": trial.profile,
            "trial_id": trial.id,
            "status": "done",
            "model": trial.model,
            "family": spec.family,
            "timm_name": spec.timm_name,
            "dataset": spec.dataset,
            "pruner": trial.pruner,
            "pruner_options": json.dumps(trial.pruner_options, sort_keys=True),
            "regime": trial.regime,
            "recipe": trial.recipe_text,
            "seed": trial.seed,
            "calibration_images": trial.calibration.images,
            "gradient": trial.calibration.gradient,
            "calibration_batch_size": trial.calibration.batch_size,
            "commit": provenance.commit(),
            "dirty": provenance.dirty(),
            "versions": provenance.versions(),
            "device": provenance.hardware(device),
            "threads": torch.get_num_threads(),
            "host": provenance.host(),
            "job": provenance.job(),
            "processes": distributed.world_size(),
            "started_at": datetime.now(timezone.utc),
        }

    def add(self, **values: Any) -> None:
        """Adds a row without measurements of a model, such as a skipped pattern or a failure."""
        self.rows.append({**self.common, **values})

    def plain(self) -> list[dict[str, Any]]:
        """Returns the rows with times as texts."""
        return [{**row, "started_at": row["started_at"].isoformat()} for row in self.rows]

    def restore(self, rows: list[dict[str, Any]], layer_rows: list[dict[str, Any]]) -> None:
        """Takes up the rows of a run that was cut off, in place of any that are there."""
        self.rows = [{**row, "started_at": datetime.fromisoformat(row["started_at"])} for row in rows]
        self.layer_rows = list(layer_rows)

    def measure(self, model: nn.Module, accuracy: Accuracy, dense: Accuracy, cost: Cost, **values: Any) -> None:
        """Adds the row of one state of the model, and its layers' sparsities."""
        weights = {name: model.get_parameter(name) for name in cost.layers}
        zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
        sparsities = {name: zeros[name] / weight.numel() for name, weight in weights.items()}
        total = sum(p.numel() for p in model.parameters())
        nonzero = sum(int(p.count_nonzero()) for p in model.parameters())
        drop = dense.top1 - accuracy.top1
        self.add(
            sparsity_prunable=sum(zeros.values()) / sum(weight.numel() for weight in weights.values()),
            sparsity_model=1 - nonzero / total,
            top1=accuracy.top1,
            top5=accuracy.top5,
            loss=accuracy.loss,
            n_images=accuracy.n_images,
            agreement=accuracy.agreement(dense),
            top1_dense=dense.top1,
            top1_drop=drop,
            top1_rel_drop=100 * drop / dense.top1 if dense.top1 else None,
            params_dense=total,
            params_nonzero=nonzero,
            macs_dense=cost.total,
            macs_sparse=cost.sparse(sparsities),
            **values,
        )
        identity = {key: self.common[key] for key in ("sweep", "profile", "trial_id")}
        self.layer_rows += [
            {
                **identity,
                "pattern": values.get("pattern"),
                "phase": values["phase"],
                "layer": name,
                "weights": weight.numel(),
                "zeros": zeros[name],
                "sparsity": sparsities[name],
            }
            for name, weight in weights.items()
        ]


def run_trial(
    trial: Trial,
    rows: TrialRecorder,
    device: str = "cpu",
    memory_budget: int | None = None,
    share: bool = False,
    folder: Path | None = None,
    micro_batch: int | None = None,
    keep: Keep | None = None,
) -> None:
    """Runs a trial: dense gate, calibration, then pruning at once or during training.

    Args:
        trial: What to run.
        rows: Receives every row as it is measured.
        device: The torch device.
        memory_budget: Bytes that the fit may take; by default what the device has free less a margin.
        share: Keep what is computed on the calibration images for the next trial of the group.
        folder: Where the trial keeps its checkpoints; by default it keeps none.
        micro_batch: Training images of this process in one forward pass; by default its share of a whole batch.
        keep: Receives every pruned model that was measured, its INT8 layers if it has some, and its row.

    Raises:
        GateError: If the dense model does not reach its recorded accuracy.
        ValueError: If the pruner cannot do what the trial asks for.
    """
    spec = get_model(trial.profile, trial.model)
    model, dense = load_dense(trial.profile, trial.model, device)
    layers = cap.select_layers(model, spec.prunable)
    cost = count_macs(model, layers, torch.zeros(1, *spec.input_shape, device=device))
    shared = load_calibration(
        trial.profile,
        trial.model,
        trial.calibration,
        trial.derived_seed("calibration"),
        trial.derived_seed("calibration order"),
    )
    shared.calibration.share = share
    run = TrialContext(trial, rows, spec, model, dense, cost, shared, device, memory_budget, folder, micro_batch, keep)
    size = {"file_bytes": dense_bytes(model)} if trial.quantization is not None else {}
    rows.measure(
        model,
        dense,
        dense,
        cost,
        phase="dense",
        sparsity_target=0.0,
        knn_top1=dense_knn_top1(trial.profile, trial.model, device),
        **size,
    )
    if trial.training is None:
        run_one_shot(run)
    else:
        prune_in_training(run, trial.training)


@dataclass
class TrialContext:
    """What the steps of a trial work on.

    Attributes:
        model: The dense model, left as it is.
        dense: Its accuracy.
        cost: Its multiply-adds.
    """

    trial: Trial
    rows: TrialRecorder
    spec: ModelSpec
    model: nn.Module
    dense: Accuracy
    cost: Cost
    shared: SharedCalibration
    device: str
    memory_budget: int | None
    folder: Path | None
    micro_batch: int | None = None
    keep: Keep | None = None

    def fit(self, model: nn.Module) -> tuple[cap.Pruner, dict[str, Any]]:
        """Fits the trial's pruner to a model, which is left as it is.

        Returns:
            The pruner, and what the fit took.
        """
        trial, shared = self.trial, self.shared
        torch.manual_seed(trial.derived_seed("pruner"))
        pruner = cap.create(trial.pruner, **trial.pruner_options)
        layers = cap.select_layers(model, self.spec.prunable)
        calibration = shared.calibration
        peak = start_peak(torch.device(self.device))
        start, saved, computed = time.perf_counter(), calibration.seconds_saved, calibration.computed
        pruner.fit(copy.deepcopy(model), layers, calibration, self.memory_budget)  # whatever it does to its model
        saved = calibration.seconds_saved - saved
        peak_bytes = peak()
        if calibration.computed > computed:
            shared.peak = peak_bytes
        elif saved and peak_bytes is not None and shared.peak is not None:
            peak_bytes = max(peak_bytes, shared.peak)
        return pruner, {
            "fit_seconds": seconds_since(start, self.device) + saved,  # as if it had shared nothing
            "shared_seconds": saved,
            "peak_memory_bytes": peak_bytes,
            "num_gradients": _num_gradients(trial, len(calibration)),
        }

    def measure(
        self, model: nn.Module, pattern: cap.Pattern, int8: Mapping[str, Int8Layer] | None = None, /, **about: Any
    ) -> None:
        """Evaluates a pruned model and adds its row.

        Args:
            model: The model.
            pattern: The pattern that it follows.
            int8: The layers that are in INT8.
            about: More columns.
        """
        accuracy = evaluate(model, self.spec.inputs("test"))
        violations = cap.count_violations({name: model.get_parameter(name) for name in self.cost.layers}, pattern)
        about |= {"pattern": str(pattern), "sparsity_target": pattern.sparsity, "violations": violations}
        about["knn_top1"] = self.spec.knn_top1(model, self.device)
        if self.trial.quantization is not None:
            about["file_bytes"] = sparse_bytes(model, int8)
        self.rows.measure(model, accuracy, self.dense, self.cost, **about)
        if self.keep is not None:
            self.keep(model, int8, self.rows.rows[-1])

    def refuse(self, pattern: cap.Pattern, reason: str, **about: Any) -> None:
        """Adds the row of a pattern that is skipped."""
        about |= {"pattern": str(pattern), "sparsity_target": pattern.sparsity, "status": "skipped", "error": reason}
        self.rows.add(**about)


def run_one_shot(run: TrialContext) -> None:
    """Fits once, then for each pattern prunes, evaluates, and where asked for fine-tunes and evaluates again.

    A run that was cut off goes on from the last checkpoint, and fits again only if there are patterns left to prune.
    """
    trial, how = run.trial, run.trial.finetune
    progress = TrialCheckpointer(run)
    saved = progress.restore()
    if saved is not None and saved.state["stretch"] is not None and how is not None:
        train(run, progress, start_training(run, run.model, how, {}, {}), saved)
    measured = {row.get("pattern") for row in run.rows.rows}
    left = [text for text in trial.patterns if text not in measured]
    if not left:
        return
    pruner, fitted = run.fit(run.model)
    dense_loss = mean_loss(run.model, run.shared.calibration)
    for text in left:
        pattern = cap.parse_pattern(text)
        if reason := pruner.supports(pattern) or cap.shape_mismatch(pruner.weights, pattern):
            run.refuse(pattern, reason, **fitted, phase="one_shot")
            continue
        torch.manual_seed(trial.derived_seed(f"prune {text}"))  # the same whatever was trained before
        start = time.perf_counter()
        pruned = pruner.prune(pattern)
        about = {**fitted, "prune_seconds": seconds_since(start, run.device) - pruner.refit_seconds}
        about["fit_seconds"] += pruner.refit_seconds
        candidate = copy.deepcopy(run.model)
        pruned.apply_to(candidate)
        loss = {
            "predicted_loss_increase": pruner.predicted_loss(pruned),
            "observed_loss_increase": mean_loss(candidate, run.shared.calibration) - dense_loss,
        }
        run.measure(candidate, pattern, **about, **loss, phase="one_shot")
        if trial.quantization is not None:
            measure_int8(run, candidate, pattern, pruned.masks, about)
        if text in trial.finetune_at and how is not None:
            stretch = start_training(run, candidate, how, {how.epochs: pattern}, about)
            stretch.training.set_masks(pruned.masks)
            train(run, progress, stretch)
        else:
            progress.save()


def _num_gradients(trial: Trial, images: int) -> int | None:
    """Returns how many gradients the pruner used, or None if it uses none."""
    if "num_gradients" not in trial.pruner_options:
        return None
    per_batch = trial.calibration.batch_size if trial.calibration.gradient == "batch" else 1
    return trial.pruner_options["num_gradients"] or max(1, images // per_batch)
