"""Whether the processes that decode images keep a card busy: the rate that they give, and the one that it takes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.cluster import estimate
from bench.cluster.config import ClusterConfig
from bench.cluster.rates import DECODED, Rates
from bench.data import imagenet
from bench.data.imagenet.decoding import WORKERS_VARIABLE, decode, num_workers
from bench.models.imagenet import ImageNetModel
from bench.specs.trial import Trial

SECONDS = 4.0  # that the loader is measured for, about
MOST_CORES = 8  # of a process, where nobody says how many: what sites commonly have for each card
ENOUGH = 0.9  # of what the card takes, within what a short measurement tells


@dataclass(frozen=True)
class Need:
    """Images that a device takes, at the most, by the trials of a selection.

    Attributes:
        images: Images a second, of one process.
        model: Model that takes as many.
        work: What it does with them: `training` or `evaluation`.
    """

    images: float
    model: str
    work: str

    def cores(self, each: float) -> int:
        """Returns how many cores decode as many images, at so many a second each."""
        return max(1, math.ceil(self.images / each))

    def __str__(self) -> str:
        return f"{self.images:,.0f} images a second of {self.model} in {self.work}"


def find_need(trials: Sequence[Trial], rates: Rates) -> Need | None:
    """Returns what a device takes at the most; None where no image is decoded."""
    needs = []
    for trial in {trial.model: trial for trial in sorted(trials, key=lambda trial: trial.recipe is not None)}.values():
        model = trial.resolve().model
        macs = estimate.model_size(model).macs
        if model.decodes:
            needs.append(Need(rates.inference / macs, trial.model, "evaluation"))
        if model.decodes and trial.recipe is not None:
            needs.append(Need(rates.training / (3 * macs), trial.model, "training"))
    return max(needs, key=lambda need: need.images, default=None)


def with_cores(config: ClusterConfig, trials: Sequence[Trial], rates: Rates) -> ClusterConfig:
    """Returns the settings of jobs with as many cores as keep a card busy, where nobody says how many.

    Args:
        config: Settings of each job.
        trials: The trials.
        rates: Rates of the device, and of the cores beside it.
    """
    if not config.gpus_per_node or "cpus_per_task" in config.model_fields_set:
        return config
    need = find_need(trials, rates)
    if need is None:
        return config
    return config.model_copy(update={"cpus_per_task": min(MOST_CORES, need.cores(rates.decoded))})


def planned_workers(config: ClusterConfig) -> int:
    """Returns how many processes decode for each process of a job: as the environment says, or as many as its cores."""
    return num_workers() if WORKERS_VARIABLE in os.environ else config.cpus_per_task


def loader_rate(trial: Trial, workers: int, work: str = "training") -> float:
    """Returns how many training images a second some processes decode and prepare, once they have begun.

    Args:
        trial: Trial of an ImageNet model whose preparation and recipe count.
        workers: Number of processes; 0 for this one.
        work: Work that they are prepared for, `training` or `evaluation`.

    Raises:
        UserError: If there are no images, or one cannot be decoded.
    """
    from bench.data.imagenet.transforms import eval_transform, training_transform  # bring timm, which takes long

    resolved = trial.resolve()
    assert isinstance(resolved.model, ImageNetModel)
    recipe = trial.recipe or resolved.profile.recipes_of(trial.model).finetune
    stored = imagenet.load_stored_split("train")
    total = len(stored.labels)
    count = min(total, int(SECONDS * DECODED * max(1, workers)))
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
    batches = chosen.split(max(1, count // 8))
    config, augments = resolved.model.data_config(), work == "training"
    transform = training_transform(recipe, config) if augments else eval_transform(config)
    start, first, done = time.perf_counter(), 0, 0
    for inputs, _ in decode(stored, transform, batches, "cpu", (0,), workers):
        done += len(inputs)
        if not first and done < count:  # the time until then is that of starting the processes
            start, first = time.perf_counter(), len(inputs)
    return (done - first) / max(time.perf_counter() - start, 1e-9)


def describe_loader(trials: Sequence[Trial], config: ClusterConfig, rates: Rates) -> tuple[bool, str]:
    """Measures the loader, with as many processes as are planned, against what the device takes.

    Args:
        trials: Trials of which some decode images.
        config: Settings of each job.
        rates: Rates of the device.

    Returns:
        Whether the loader keeps the device busy, as far as rates were measured and more cores of this machine would
        help; and what was found.

    Raises:
        UserError: If there are no images, or one cannot be decoded.
    """
    need, workers = find_need(trials, rates), planned_workers(config)
    assert need is not None
    chosen = max((t for t in trials if t.model == need.model), key=lambda trial: trial.recipe is not None)
    given = loader_rate(chosen, workers, need.work)
    wanted = need.cores(given / max(1, workers))
    known = "measured" if rates.measured else "assumed"
    text = f"{workers} workers give {given:,.0f} images a second; {rates.name} ({known}) takes {need}"
    if given >= ENOUGH * need.images:
        return True, f"{text}: it is never kept waiting"
    cores = len(os.sched_getaffinity(0)) // config.tasks
    told = f"{text}: {wanted} workers would keep it busy"
    if not config.gpus_per_node:
        return True, f"{told}, but decode on the very cores that compute"
    if cores <= workers:
        return True, f"{told}, and there are {cores} cores for each process: it waits for images"
    return not rates.measured, f"{told}: ask for --cpus-per-task {min(wanted, cores)}"
