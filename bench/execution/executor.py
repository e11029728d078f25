"""Protocol of executors: a generator of finished trials."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.specs.trial import Trial


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
