"""Execution in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from bench.execution.executor import FinishedTrial, group_by_calibration
from bench.execution.progress import limited
from bench.execution.worker import run_group
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.session import TrialSession


@dataclass(frozen=True)
class InlineExecutor:
    """An executor that runs one trial after another in this process.

    Attributes:
        results: Folder of all results.
        config: Settings of the execution.
    """

    results: Path
    config: ExecutionConfig

    def run(self, trials: Sequence[Trial]) -> Generator[FinishedTrial]:
        """Runs trials, those of a group one after another, and yields each as soon as it has ended."""
        session = TrialSession(self.config.device)
        config = replace(self.config, on_progress=limited(self.config.on_progress))
        for group in group_by_calibration(trials):
            with closing(run_group(group, self.results, config, session=session)) as finished:
                yield from finished
