"""Runs one trial from start to rows."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

import cap
from bench import provenance
from bench.augment import augment
from bench.data import DATASET, Split, load_split, to_input
from bench.memory import start_peak
from bench.metrics import Accuracy, Cost, count_macs, evaluate
from bench.spec import CalibrationSpec, FinetuneSpec, Trial
from bench.zoo import ModelSpec, get_model

GATE = 0.1  # percentage points; ten of 10,000 images may change sides between processors


class GateError(Exception):
    """The dense model does not reach its recorded accuracy, so nothing that follows would mean anything."""


@cache
def load_dense(profile: str, name: str, device: str = "cpu") -> tuple[nn.Module, Accuracy]:
    """Loads a dense model onto a device and evaluates it; once per process.

    Raises:
        GateError: If its top-1 differs from the recorded one.
    """
    spec = get_model(profile, name)
    model = spec.load().to(device)
    accuracy = evaluate(model, load_split("test"), spec.input_size)
    recorded = spec.card()["top1"]
    if abs(accuracy.top1 - recorded) > GATE:
        raise GateError(
            f"{name} reaches {accuracy.top1:.2f} % top-1, but {recorded:.2f} % is recorded for its weights: "
            "the data, the weights or the libraries are not those it was trained with"
        )
    return model, accuracy


def finetune_batches(
    split: Split, how: FinetuneSpec, input_size: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the augmented batches of one epoch; the same for the same seed and epoch."""
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(len(split), generator=generator)[: how.images]
    for images, labels in split.batches(how.batch_size, order):
        yield to_input(augment(images.float() / 255, how.augmentation, generator), input_size), labels


def finetune(model: nn.Module, masks: dict[str, Tensor], spec: ModelSpec, how: FinetuneSpec, seed: int) -> None:
    """Fine-tunes a pruned model in place."""
    train_set = load_split("train")
    recipe = cap.FinetuneRecipe(**how.model_dump(exclude={"images", "batch_size", "augmentation"}))
    steps = -(-min(how.images, len(train_set)) // how.batch_size)
    torch.manual_seed(seed)
    device = next(model.parameters()).device

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in finetune_batches(train_set, how, spec.input_size, seed, epoch):
            yield inputs.to(device), labels.to(device)

    cap.finetune(model, masks, batches, steps, recipe)


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
    input_size: int, how: CalibrationSpec, image_seed: int, order_seed: int, group: str
) -> SharedCalibration:
    """Draws calibration images from the training set; once for the trials of a group that run one after another."""
    chosen = load_split("train").subset(how.images, image_seed)
    return SharedCalibration(
        cap.Calibration(
            to_input(chosen.images, input_size),
            chosen.labels,
            batch_size=how.batch_size,
            gradient=how.gradient,
            seed=order_seed,
        )
    )


def plan(trial: Trial, memory_budget: int, share: bool) -> cap.Plan | None:
    """Plans the fit of a trial within a memory budget, without its images.

    Raises:
        ValueError: If the budget is too small.
    """
    spec = get_model(trial.profile, trial.model)
    model = spec.load()
    how = trial.calibration
    image = to_input(load_split("test").images[:1], spec.input_size)
    calibration = cap.Calibration(
        image.expand(how.images, *image.shape[1:]),
        torch.zeros(how.images, dtype=torch.int64),
        batch_size=how.batch_size,
        gradient=how.gradient,
        share=share,
    )
    pruner = cap.create(trial.pruner, **trial.pruner_options)
    return pruner.plan(model, cap.select_layers(model, spec.prunable), calibration, memory_budget)


class Rows:
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
            "dataset": DATASET,
            "pruner": trial.pruner,
            "pruner_options": json.dumps(trial.pruner_options, sort_keys=True),
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
            "started_at": datetime.now(timezone.utc),
        }

    def add(self, **values: Any) -> None:
        """Adds a row without measurements of a model, such as a skipped pattern or a failure."""
        self.rows.append({**self.common, **values})

    def measure(
        self, model: nn.Module, accuracy: Accuracy, dense: Accuracy, layers: list[str], cost: Cost, **values: Any
    ) -> None:
        """Adds the row of one state of the model, and its layers' sparsities."""
        weights = {name: model.get_parameter(name) for name in layers}
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
            top1_dense=dense.top1,
            top1_drop=drop,
            top1_rel_drop=100 * drop / dense.top1,
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


def seconds_since(start: float, device: str) -> float:
    """Returns the time since `start`, after the device has finished what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def run_trial(
    trial: Trial, rows: Rows, device: str = "cpu", memory_budget: int | None = None, share: bool = False
) -> None:
    """Runs a trial: dense gate, calibration, fit, then for each pattern prune, evaluate, fine-tune, evaluate.

    Args:
        trial: What to run.
        rows: Receives every row as it is measured.
        device: The torch device.
        memory_budget: Bytes that the fit may take; by default what the device has free less a margin.
        share: Keep what is computed on the calibration images for the next trial of the group.

    Raises:
        GateError: If the dense model does not reach its recorded accuracy.
        ValueError: If the pruner cannot do what the trial asks for.
    """
    spec = get_model(trial.profile, trial.model)
    model, dense = load_dense(trial.profile, trial.model, device)
    test_set = load_split("test")
    layers = cap.select_layers(model, spec.prunable)
    cost = count_macs(model, layers, to_input(test_set.images[:1], spec.input_size).to(device))
    rows.measure(model, dense, dense, list(layers), cost, phase="dense", sparsity_target=0.0)

    shared = load_calibration(
        spec.input_size,
        trial.calibration,
        trial.derived_seed("calibration"),
        trial.derived_seed("calibration order"),
        trial.group,
    )
    calibration = shared.calibration
    calibration.share = share
    torch.manual_seed(trial.derived_seed("pruner"))
    pruner = cap.create(trial.pruner, **trial.pruner_options)
    peak = start_peak(torch.device(device))
    start, saved, computed = time.perf_counter(), calibration.seconds_saved, calibration.computed
    pruner.fit(copy.deepcopy(model), layers, calibration, memory_budget)  # whatever it does to its model, ours is dense
    saved = calibration.seconds_saved - saved
    peak_bytes = peak()
    if calibration.computed > computed:
        shared.peak = peak_bytes
    elif saved and peak_bytes is not None and shared.peak is not None:
        peak_bytes = max(peak_bytes, shared.peak)
    fitted = {
        "fit_seconds": seconds_since(start, device) + saved,  # as if it had shared nothing
        "shared_seconds": saved,
        "peak_memory_bytes": peak_bytes,
        "num_gradients": _num_gradients(trial, len(calibration)),
    }

    for text in trial.patterns:
        pattern = cap.parse_pattern(text)
        about = {**fitted, "pattern": text, "sparsity_target": pattern.sparsity}
        if reason := pruner.supports(pattern):
            rows.add(**about, phase="one_shot", status="skipped", error=reason)
            continue
        start = time.perf_counter()
        pruned = pruner.prune(pattern)
        about["prune_seconds"] = seconds_since(start, device)
        candidate = copy.deepcopy(model)
        pruned.apply_to(candidate)
        accuracy = evaluate(candidate, test_set, spec.input_size)
        rows.measure(candidate, accuracy, dense, list(layers), cost, **about, phase="one_shot")
        if text in trial.finetune_at and trial.finetune is not None:
            start = time.perf_counter()
            finetune(candidate, pruned.masks, spec, trial.finetune, trial.derived_seed("fine-tune"))
            about |= {
                "finetune_seconds": seconds_since(start, device),
                "finetune_epochs": trial.finetune.epochs,
                "finetune_images": trial.finetune.epochs * min(trial.finetune.images, len(load_split("train"))),
            }
            accuracy = evaluate(candidate, test_set, spec.input_size)
            rows.measure(candidate, accuracy, dense, list(layers), cost, **about, phase="finetuned")


def _num_gradients(trial: Trial, images: int) -> int | None:
    """Returns how many gradients the pruner used, or None if it uses none."""
    if "num_gradients" not in trial.pruner_options:
        return None
    per_batch = trial.calibration.batch_size if trial.calibration.gradient == "batch" else 1
    return trial.pruner_options["num_gradients"] or max(1, images // per_batch)
