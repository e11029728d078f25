"""Protocol of executors: a generator of finished trials."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from bench.specs.trial import Trial

SLACK = 1.1  # share of its part of the trials that a process may have at most before groups are cut


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended, and how.

    Attributes:
        trial: The trial.
        status: One of `bench.results.store.STATUSES`.
        error: Error of a failed trial, `Type: message`; None for any other.
    """

    trial: Trial
    status: str
    error: str | None = None


class Executor(Protocol):
    """A place where trials run: this process, a pool of processes, a cluster."""

    def run(self, trials: Sequence[Trial]) -> Generator[FinishedTrial]:
        """Runs trials and yields each as soon as it has ended; closing the generator ends what still runs."""


def group_by_calibration(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Brings together the trials that can share what is computed on the calibration images."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return list(groups.values())


def balanced_groups(trials: Sequence[Trial], processes: int) -> list[list[Trial]]:
    """Returns the groups of trials that share calibration images, cut where processes would wait for the longest.

    What two parts of a group share is computed by both; results are the same.

    Args:
        trials: The trials.
        processes: Number of processes that take one group after another.
    """
    groups, each = group_by_calibration(trials), len(trials) / processes
    cut, parts = groups, 0
    while _largest_load(cut, processes) > SLACK * each and max(map(len, cut)) > 1:
        parts += 1
        most, cut = ceil(each / parts), []
        for group in groups:
            size = ceil(len(group) / ceil(len(group) / most))
            cut += [group[start : start + size] for start in range(0, len(group), size)]
    return cut


def _largest_load(groups: Sequence[Sequence[Trial]], processes: int) -> int:
    """Returns the most trials that one of some processes gets, each of which takes the next group when it is free."""
    loads = [0] * processes
    for group in groups:
        loads[loads.index(min(loads))] += len(group)
    return max(loads)
