"""Checks before any trial runs, and the resources that the trials share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import psutil
import torch
from torch import Tensor

import cap
from bench.core.errors import UserError
from bench.execution.executor import group_by_calibration
from bench.specs.trial import ResolvedTrial, Trial
from bench.trials import structured
from bench.trials.context import ExecutionConfig
from bench.trials.int8 import check_installed
from bench.trials.planning import plan_fit, training_refusal
from cap.batch_norm import has_batch_norm
from cap.device_memory import gib
from cap.selection import count_removed, layer_counts
from cap.training.accelerator import Compute

Layers = Mapping[str, Tensor]
DenseKey = tuple[str, str, "int | None"]  # see `Trial.dense_key`


@dataclass(frozen=True)
class LocalResources:
    """Resources of this machine that trials may use.

    Attributes:
        processes: Number of parallel processes; None for one for each core, if there are as many groups of trials that
            share calibration images, on a GPU for one.
        device: The torch device of all trials.
        memory_gb: GiB that the fits of all processes together may take; None for what is free less a tenth.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.
    """

    processes: int | None = None
    device: str = "cpu"
    memory_gb: float | None = None
    compute: Compute = "auto"

    def check(self) -> None:
        """Makes sure that the numbers are valid, and that the device can be used.

        Raises:
            UserError: If they are not, or it cannot.
        """
        if self.processes is not None and self.processes < 1:
            raise UserError(f"--jobs {self.processes} is not valid: give at least 1")
        if self.memory_gb is not None and not 0 < self.memory_gb < float("inf"):
            raise UserError(f"--memory-gb {self.memory_gb} is not valid: give a number larger than 0")
        if self.compute not in get_args(Compute):
            raise UserError(f"--compute {self.compute} is not valid: choose from {', '.join(get_args(Compute))}")
        if self.compute == "compile" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "c++", "clang++"))):
            raise UserError(
                "--compute compile needs a C++ compiler, and there is none here: install g++, or leave it out"
            )
        check_device(self.device)

    def share(self, trials: Sequence[Trial]) -> tuple[int, ExecutionConfig]:
        """Returns the number of processes for some trials, and what each of these may use."""
        cores = len(os.sched_getaffinity(0)) if self.device == "cpu" else 1
        processes = self.processes or min(cores, len(group_by_calibration(trials)))
        processes = max(1, min(processes, len(trials)))
        if self.memory_gb is not None:
            budget = int(self.memory_gb * 2**30) // processes
        else:
            budget = cap.default_budget(self.device, processes)
            if self.device == "cpu" and processes > 1:  # each loads its own libraries, data and model, like this one
                budget = max(0, budget - psutil.Process().memory_info().rss)
        return processes, ExecutionConfig(self.device, budget, compute=self.compute)


def check_device(device: str) -> None:
    """Makes sure that torch can compute on a device.

    Raises:
        UserError: If it cannot.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from None


def check_trials(trials: Sequence[Trial], elsewhere: Collection[str] = ()) -> None:
    """Makes sure that trials can run: images to calibrate on, models, and weights that are left at each sparsity.

    Args:
        trials: The trials.
        elsewhere: Environment variables of folders that the machine of the trials alone has.

    Raises:
        UserError: If one cannot.
    """
    for trial in trials:
        used = trial.resolve().profile
        asked, available = trial.calibration.images, used.calibration_images
        if available is not None and asked > available:
            raise UserError(
                f"{trial.label}: calibration.images is {asked:,}, but profile {trial.profile} has {available:,} "
                "images to calibrate on"
            )
        _check_gradients(trial)
        if trial.calibration.augmentation is not None and not trial.resolve().model.augments:
            raise UserError(
                f"{trial.label}: calibration.augmentation is {trial.calibration.augmentation}, but images of profile "
                f"{trial.profile} are calibrated on as they are: leave it out"
            )
        if trial.recipe is not None and used.training_images == 0:
            raise UserError(f"{trial.label}: it trains, but profile {trial.profile} has no image for tuning")
    layers = check_models(trials, elsewhere)
    for key, model, pattern in dict.fromkeys((t.dense_key, t.model, one) for t in trials for one in t.patterns):
        found = layers[key]
        if _weights_left(found, cap.parse_pattern(pattern)) == 0:
            total = sum(weight.numel() for weight in found.values())
            raise UserError(f"model {model} at {pattern}: of its {total:,} weights to prune none is left")


def _check_gradients(trial: Trial) -> None:
    """Refuses a trial that wants more gradients of single images than there are images to train on.

    Raises:
        UserError: If it does.
    """
    card, wanted = trial.resolve().model.data_card(), trial.pruner_options.get("num_gradients") or 0
    if trial.calibration.gradient == "sample" and card is not None and wanted > card.train:
        raise UserError(
            f"{trial.label}: num_gradients is {wanted:,}, but there are {card.train:,} training images; a pilot takes "
            f"fewer: --images {card.train}"
        )


def _weights_left(layers: Layers, pattern: cap.Pattern) -> int:
    """Returns how many weights a pattern leaves, for blocks how many blocks."""
    sizes = [weight.numel() for weight in layers.values()]
    match pattern:
        case cap.NM(keep=keep, of=of):
            return sum(sizes) // of * keep
        case cap.Blocks(size=size, sparsity=sparsity):
            blocks = sum(sizes) // size
            return blocks - count_removed(sparsity, blocks)
        case cap.Unstructured(scope="global"):
            return sum(sizes) - count_removed(pattern.sparsity, sum(sizes))
        case cap.Unstructured():
            removed = layer_counts({name: tuple(weight.shape) for name, weight in layers.items()}, pattern)
            return sum(sizes) - sum(removed.values())
        case cap.Units() | cap.UnitsThen():
            return sum(sizes) - count_removed(pattern.sparsity, sum(sizes))


def check_models(trials: Sequence[Trial], elsewhere: Collection[str] = ()) -> dict[DenseKey, Layers]:
    """Makes sure that the models' files are there, their patterns match layers, and INT8 is installed where asked for.

    Args:
        trials: The trials.
        elsewhere: Environment variables of folders that the machine of the trials alone has.

    Returns:
        {`Trial.dense_key`: layers to prune, shapes alone}.

    Raises:
        UserError: If one of these is not so; for files with all models that cannot be loaded.
    """
    problems: dict[str, str] = {}
    layers: dict[DenseKey, Layers] = {}
    specs = {trial.dense_key: trial.resolve().model for trial in trials}
    settled = {trial.dense_key for trial in trials if trial.batch_norm != "kept"}
    for key, spec in specs.items():
        name = spec.name
        try:
            spec.check_but(elsewhere) if elsewhere else spec.check()
            outline = spec.outline()
            layers[key] = cap.select_layers(outline, spec.prunable)
            if key in settled and not has_batch_norm(outline):
                raise UserError(f"model {name} has no batch normalisation: leave batch_norm out")
        except UserError as error:
            problems[name] = str(error)
        except ValueError as error:
            raise UserError(f"model {name}: {error}") from None
    if problems:
        raise UserError(_in_one_line(problems))
    if any(trial.quantization is not None for trial in trials):
        check_installed()
    if any("@units" in pattern for trial in trials for pattern in trial.patterns):
        structured.check_installed()
    return layers


def _in_one_line(problems: Mapping[str, str]) -> str:
    """Returns what is wrong with models, {name: problem}: the first problem of a kind in full, of the others names."""
    seen: dict[str, tuple[str, list[str]]] = {}  # by what is left of a problem without the model's name
    for name, problem in problems.items():
        kind = problem.partition(name)[0]
        seen.setdefault(kind, (problem, []))[1].append(name)
    texts = []
    for problem, names in seen.values():
        others = [name for name in names if problems[name] != problem]
        texts.append(problem + (f"; nor can {', '.join(others)} be loaded" if others else ""))
    return "; ".join(texts)


def skipped_patterns(trials: Sequence[Trial]) -> Iterator[str]:
    """Yields a line for every pattern that a pruner or a model will skip, as far as they say so before a fit."""
    layers: dict[DenseKey, Layers] = {}
    lines: dict[str, None] = {}  # in order, each once
    different = {(t.dense_key, t.pruner, str(t.pruner_options), t.patterns, str(t.training)): t for t in trials}
    for trial in different.values():
        resolved, key = trial.resolve(), trial.dense_key
        for pattern in resolved.patterns:
            if reason := _refusal(resolved, pattern):
                lines[f"{trial.pruner} skips {pattern}: {reason}"] = None
            elif not isinstance(pattern, cap.Unstructured):
                if key not in layers:
                    layers[key] = {}
                    with suppress(ValueError):  # `check_models` tells it
                        layers[key] = cap.select_layers(resolved.model.outline(), resolved.model.prunable)
                if reason := cap.shape_mismatch(layers[key], pattern):
                    lines[f"model {trial.model} skips {pattern}: {reason}"] = None
    yield from lines


def _refusal(resolved: ResolvedTrial, pattern: cap.Pattern) -> str | None:
    """Returns why a trial's pruner cannot produce a pattern; None if it can, or does not know before it is fitted."""
    training = resolved.trial.training
    try:
        return training_refusal(resolved, training) if training is not None else resolved.pruner().refusal(pattern)
    except (Exception, SystemExit):  # noqa: BLE001  a user's file may raise anything
        return None


def check_pruner(name: str, options: Mapping[str, Any]) -> None:
    """Makes sure that a pruner's file, class, options and their values are valid.

    Args:
        name: Name of a registered pruner, or `path/to/file.py:ClassName`.
        options: Options of the pruner, {name: value}.

    Raises:
        UserError: If one is not.
    """
    try:
        cap.default_options(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        raise UserError(f"{name}: {type(error).__name__}: {error}") from None
    if options:
        try:
            cap.create(name, **options)
        except ValueError as error:
            raise UserError(str(error)) from None
        except (Exception, SystemExit):  # noqa: BLE001  not for its options: the contract's checks will find it
            pass


def describe_memory(trials: Sequence[Trial], processes: int, config: ExecutionConfig) -> str | None:
    """Returns a line that says what the fits of some trials will take; None where none plans its memory.

    Raises:
        UserError: If the budget is too small for one of them.
    """
    plans: dict[tuple[str, str, str], cap.MemoryPlan | None] = {}
    name, model = None, None
    for group in group_by_calibration(trials):
        for trial in group:
            label = f"{trial.model} {trial.pruner}"
            key = (label, str(trial.pruner_options), str(trial.calibration))
            if key not in plans:
                resolved = trial.resolve()
                if model is None or trial.model != name:
                    name, model = trial.model, resolved.model.build()
                try:
                    plans[key] = plan_fit(resolved, model, config.memory_budget or 0, share=len(group) > 1)
                except ValueError as error:
                    raise UserError(f"{label}: {error}; {processes} processes share the memory") from None
    fits = [(label, found) for (label, _, _), found in plans.items() if found is not None]
    if not fits:
        return None
    label, largest = max(fits, key=lambda fit: fit[1].peak_bytes)
    several = [f"{name} {len(found.passes)}" for name, found in fits if len(found.passes) > 1]
    passes = f"passes over the gradients: {', '.join(several)}" if several else "one pass over the gradients each"
    rebuilt = list(dict.fromkeys(name for name, found in fits if not found.keeps_factors))
    if rebuilt:
        passes += f"; no factors are kept, and pruning takes as many passes again or more: {', '.join(rebuilt)}"
    return f"a fit takes up to {gib(largest.peak_bytes)} ({label}) of {gib(largest.budget)} memory, {passes}"
