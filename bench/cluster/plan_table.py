"""Plans of a sweep model by model, or pruner by pruner: hours, memory, disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from bench.cluster import estimate
from bench.cluster.config import ClusterConfig
from bench.cluster.rates import Rates
from bench.execution.executor import group_by_calibration
from bench.specs.trial import Trial

By = Literal["model", "pruner"]
IMAGES = 128  # of the column that tells the memory of training
GIB, MIB = 2**30, 2**20


def describe_parts(
    trials: Sequence[Trial], by: By, config: ClusterConfig, rates: Rates, keep_models: bool = True
) -> Iterator[str]:
    """Yields a Markdown table, line by line: what all trials of each model, or pruner, take.

    Memory is that of the trial that takes most, disk that of all trials and, while it runs, of one.

    Args:
        trials: The trials.
        by: What the lines are of.
        config: Settings of each job.
        rates: Rates of the device.
        keep_models: Whether models that are pruned in training are kept.
    """
    head = (
        by, "trials", f"hours ({rates.name})",
        "fit without factors, GiB", "fit with factors, GiB", "fit in one pass, GiB",
        f"training of {IMAGES} images, GiB", "results and models, MiB", "checkpoints of a job, MiB",
    )  # fmt: skip
    yield _line(head)
    yield _line(["---"] * len(head))
    groups = group_by_calibration(trials)
    seconds = {
        trial.id: time
        for group in groups
        for trial, time in zip(group, estimate.group_seconds(group, rates, config.cpus_per_task), strict=True)
    }
    for name in dict.fromkeys(getattr(trial, by) for trial in trials):
        part = [trial for trial in trials if getattr(trial, by) == name]
        fits = [estimate.fit_bytes(trial) for trial in part]
        training = max(estimate.training_bytes(trial, IMAGES) for trial in part)
        yield _line([
            name,
            str(len(part)),
            f"{(hours := sum(seconds[trial.id] for trial in part) / 3600):,.{1 if hours >= 1 else 2}f}",
            f"{max(fit.minimum for fit in fits) / GIB:,.1f}",
            f"{max(fit.least for fit in fits) / GIB:,.1f}",
            f"{max(fit.single_pass for fit in fits) / GIB:,.1f}",
            f"{training / GIB:,.1f}" if training else "",
            f"{sum(estimate.storage(trial, keep_models) for trial in part) / MIB:,.0f}",
            f"{max(map(estimate.checkpoint_bytes, part)) / MIB:,.0f}",
        ])  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
