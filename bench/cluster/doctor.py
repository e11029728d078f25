"""Checks of a place before any trial runs there: data, weights, processor and card, disk, SLURM; each one line."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch

from bench.cluster import estimate, slurm
from bench.cluster.config import ClusterConfig
from bench.cluster.loading import describe_loader, with_cores
from bench.cluster.measure import find_rates
from bench.core import files
from bench.core.errors import UserError
from bench.core.hardware import hardware
from bench.data import imagenet
from bench.data.imagenet.decoding import decode_image
from bench.execution.preflight import check_models
from bench.execution.selection import TrialSelection
from bench.models.imagenet import ImageNetModel
from bench.specs.trial import Trial
from cap.training.accelerator import Accelerator, ComputeMode

SAMPLE = 64  # images of each split that are decoded by default
SPARE = 2.0  # times the estimated storage that the disk should have free


@dataclass(frozen=True)
class Finding:
    """Outcome of one check.

    Attributes:
        subject: What was checked, in a word.
        ok: Whether trials can run with it.
        text: What was found.
    """

    subject: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'NOT OK':6}  {self.subject:8}  {self.text}"


def examine(selection: TrialSelection, config: ClusterConfig, every_image: bool = False) -> Iterator[Finding]:
    """Yields what was found of a selection's data, weights and place, as soon as each check ends.

    Args:
        selection: The trials.
        config: Settings of each job.
        every_image: Whether all images are decoded, not a sample of each split.
    """
    trials = selection.trials
    config = with_cores(config, trials, find_rates(None, bool(config.gpus_per_node)))
    if isinstance(trials[0].resolve().model, ImageNetModel):
        yield _told("data", _card)
        usable = True
        for split in ("train", "test"):
            found = _told("images", partial(_decoded, split, None if every_image else SAMPLE))
            usable &= found.ok
            yield found
        if usable:
            yield _told("loader", lambda: _loader(trials, config))
    yield _told("weights", lambda: _weights(trials))
    yield _told("node", lambda: _node(trials, config))
    yield _told("card", lambda: _device(trials, config))
    yield _told("disk", lambda: _disk(selection))
    if shutil.which("scontrol") is not None and (config.time is not None or config.partition is not None):
        yield _told("slurm", lambda: _slurm(config))


def _told(subject: str, check: Callable[[], str]) -> Finding:
    """Returns the outcome of a check, which returns what it found and raises what is wrong."""
    try:
        return Finding(subject, True, check())
    except UserError as error:
        return Finding(subject, False, " ".join(str(error).split()))


def _card() -> str:
    imagenet.check_data()
    card = imagenet.find_card()
    if card is None:
        return "from the hub"
    kind = "all of ImageNet-1k" if card.whole else "a part of ImageNet-1k, whose results are kept apart"
    return f"{card.train:,} training and {card.test:,} test images, checksum {card.checksum}: {kind}"


def _decoded(split: str, count: int | None) -> str:
    """Decodes images that are spread over a split.

    Raises:
        UserError: If some cannot be decoded, with all of these.
    """
    stored = imagenet.load_stored_split(split)
    total = len(stored.labels)
    chosen = range(0, total, max(1, total // count)) if count is not None else range(total)

    def broken(index: int) -> str | None:
        image = stored.rows[index]["image"]
        try:
            decode_image(image)
        except OSError as error:
            return f"{stored.describe(index, image['path'])}: {' '.join(str(error).split())}"
        return None

    threads, start = len(os.sched_getaffinity(0)), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        mistakes = [one for one in pool.map(broken, chosen) if one is not None]
    rate = len(chosen) / (time.perf_counter() - start)
    if mistakes:
        raise UserError(f"{len(mistakes)} of {len(chosen)} {split} images cannot be decoded: {'; '.join(mistakes)}")
    return f"{len(chosen):,} of {total:,} {split} images decoded, {rate:,.0f} a second on {threads} cores"


def _loader(trials: Sequence[Trial], config: ClusterConfig) -> str:
    """Measures the loader against what the card takes.

    Raises:
        UserError: If the card would wait though this machine has more cores.
    """
    keeps_up, text = describe_loader(trials, config, find_rates(None, bool(config.gpus_per_node)))
    if not keeps_up:
        raise UserError(text)
    return text


def _weights(trials: Sequence[Trial]) -> str:
    by_model = {trial.dense_key: trial for trial in trials}
    check_models(list(by_model.values()), elsewhere=(imagenet.FOLDER_VARIABLE,))  # which has a line of its own
    return f"of {len(by_model)} models: {', '.join(sorted({trial.model for trial in trials}))}"


def _node(trials: Sequence[Trial], config: ClusterConfig) -> str:
    """Compares the cores and the memory that there are with those that jobs ask for and use.

    Raises:
        UserError: If there are fewer, or less.
    """
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 2**30
    images = max(_calibration_bytes(trial) for trial in trials) / 2**30
    wanted = config.cpus_per_task * config.tasks
    text = f"{cores} cores, {memory:,.0f} GiB; jobs ask for {wanted} cores; calibration images take {images:.1f} GiB"
    if wanted > cores:
        raise UserError(f"{text}: ask for at most {cores}")
    if images * config.tasks > 0.5 * min(memory, config.mem_gb or memory):
        raise UserError(f"{text} in each of {config.tasks} processes: too much, ask for more memory")
    return text


def _calibration_bytes(trial: Trial) -> int:
    channels, height, width = trial.resolve().model.input_shape
    return 4 * trial.calibration.images * channels * height * width


def _device(trials: Sequence[Trial], config: ClusterConfig) -> str:
    """Compares the memory and the precisions of the card with what the trials take.

    Raises:
        UserError: If jobs ask for a card that is not here, or a trial does not fit.
    """
    if not config.gpus_per_node:
        return f"none asked for; {hardware('cpu')}"
    if not torch.cuda.is_available():
        raise UserError("jobs ask for a GPU, but torch finds no CUDA here: run this on a node that has one")
    memory = torch.cuda.get_device_properties(0).total_memory
    largest = max(trials, key=estimate.least_bytes)
    least = estimate.least_bytes(largest)
    rebuilt = ", keeping no factors" if least < estimate.fit_bytes(largest).least else ""
    said = f"the largest fit takes {least / 2**30:,.1f} GiB at the least{rebuilt}"
    text = f"{hardware('cuda')}, {memory / 2**30:,.0f} GiB; {said}"
    if least > memory:
        raise UserError(f"{text} ({largest.label})")
    modes = {str(mode): None for mode in _modes(trials, Accelerator.of("cuda"))}
    return f"{text}; trains in {' or '.join(modes)}" if modes else text


def _modes(trials: Sequence[Trial], accelerator: Accelerator) -> Iterator[ComputeMode]:
    """Yields how each trial that trains computes on a card."""
    for trial in trials:
        if trial.recipe is not None:
            convolutional = estimate.model_size(trial.resolve().model).convolutional
            yield accelerator.mode(trial.recipe.precision, convolutional)


def _disk(selection: TrialSelection) -> str:
    """Makes sure that results can be written, and that there is room for them.

    Raises:
        UserError: If they cannot, or there is not.
    """
    folder = selection.store.folder
    files.check_writable(folder)
    free = shutil.disk_usage(folder).free
    needed = sum(map(estimate.storage, selection.trials)) + max(map(estimate.checkpoint_bytes, selection.trials))
    text = f"{free / 2**30:,.0f} GiB free in {_parent(folder)}, results and checkpoints take {needed / 2**30:,.1f} GiB"
    if free < SPARE * needed:
        raise UserError(f"{text}: give --results on a larger disk")
    return text


def _parent(folder: Path) -> Path:
    return folder.parents[1]


def _slurm(config: ClusterConfig) -> str:
    """Asks SLURM for its limits.

    Raises:
        UserError: If it does not answer, or the settings have no time limit.
    """
    limits = slurm.limits()
    waiting = 0
    with suppress(slurm.SlurmError):
        waiting = len(slurm.queue())
    most = f"{limits.submitted:,} jobs of a user" if limits.submitted is not None else "any number of jobs"
    text = f"takes {most}, {waiting} are there, {limits.array_size:,} in an array"
    if config.time is None:
        raise UserError(f"{text}; jobs need a time limit: give --time, or time in cluster.toml")
    return f"{text}; a job ends after {config.time} minutes and goes on from its checkpoint"
