"""Runs of those trials of a sweep that have no results yet."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bench.execution.executor import Executor, FinishedTrial
from bench.execution.inline import InlineExecutor
from bench.execution.pool import PoolExecutor
from bench.execution.preflight import LocalResources, check_trials, describe_memory
from bench.execution.progress import ShowProgress
from bench.execution.selection import TrialSelection, select_trials
from bench.results.folders import WORKING
from bench.specs.sweep import Sweep
from bench.trials.context import ExecutionConfig


class LocalRun:
    """Run of the unfinished trials of a selection in processes of this machine.

    Args:
        selection: The trials.
        resources: Resources that they may use; by default all of the processor.
        expected_top1: {model: dense top-1 that the user expects, percent}.
        keep_models: Whether the models that are measured in training with pruning are kept as files.

    Attributes:
        todo: The unfinished trials.

    Raises:
        UserError: If the resources are not valid.
    """

    def __init__(
        self,
        selection: TrialSelection,
        resources: LocalResources | None = None,
        expected_top1: Mapping[str, float] | None = None,
        keep_models: bool = True,
    ) -> None:
        self.selection, self.resources = selection, resources or LocalResources()
        self.expected_top1, self.keep_models = dict(expected_top1 or {}), keep_models
        self.resources.check()
        self.todo = selection.missing()

    @property
    def summary(self) -> str:
        """Number of trials that are done and to run, in one line."""
        return self.selection.summary(self.todo)

    @cached_property
    def _share(self) -> tuple[int, ExecutionConfig]:
        return self.resources.share(self.todo)

    def check(self) -> str | None:
        """Makes sure, before any work, that the trials can run and their results be written.

        Returns:
            A line that says what memory the fits will take; None where none plans its memory.

        Raises:
            UserError: If a trial cannot run, or the results cannot be written.
        """
        self.selection.store.check_writable()
        check_trials(self.todo)
        return describe_memory(self.todo, *self._share)

    def run(self, on_progress: ShowProgress | None = None) -> Generator[FinishedTrial]:
        """Runs the trials and yields each as soon as it has ended; closing the generator ends what still runs.

        Args:
            on_progress: Function that shows how far the fits are; None to show none.
        """
        if not self.todo:
            return
        processes, config = self._share
        config = replace(
            config, on_progress=on_progress, expected_top1=self.expected_top1, keep_models=self.keep_models
        )
        results = self.selection.results
        executor = InlineExecutor(results, config) if processes == 1 else PoolExecutor(results, config, processes)
        with closing(executor.run(self.todo)) as finished:
            yield from finished


def run_missing(selection: TrialSelection, executor: Executor | None = None) -> Generator[FinishedTrial]:
    """Checks that the unfinished trials of a selection can run, and returns a generator that runs them.

    Args:
        selection: The trials.
        executor: Place where they run; by default processes of this machine, one for each core.

    Raises:
        UserError: If a trial cannot run, or its results cannot be written.
    """
    if executor is not None:
        selection.store.check_writable()
        todo = selection.missing()
        check_trials(todo)
        return executor.run(todo)
    run = LocalRun(selection)
    if run.todo:
        run.check()
    return run.run()


def run_sweep(
    sweep: Sweep | str,
    profile: str = "embedded",
    only: Iterable[str] = (),
    seeds: Sequence[int] = (),
    results: Path = WORKING,
    executor: Executor | None = None,
    finetune: bool = True,
    images: int | None = None,
) -> Generator[FinishedTrial]:
    """Runs those trials of a sweep that have no results yet, and collects the rows of all into one table.

    Args:
        sweep: The sweep, its name, or its file `path/to/sweep.py`.
        profile: Name of the profile.
        only: Filters `key=value`, see `bench.specs.sweep.choose_parts`; values of one key are alternatives.
        seeds: Seeds to run; none for all.
        results: Folder of all results.
        executor: Place where the trials run; by default processes of this machine, one for each core.
        finetune: Whether anything is trained.
        images: Number of images of a pilot, see `bench.specs.pilot`; None for the sweep itself.

    Returns:
        A generator that runs the trials and yields each as soon as it has ended; closing it ends what still runs.

    Raises:
        UserError: If an argument is not valid, or a trial cannot run.
    """
    selection = select_trials(sweep, profile, only, seeds, results, finetune, images)
    return _then_collect(run_missing(selection, executor), selection)


def _then_collect(running: Generator[FinishedTrial], selection: TrialSelection) -> Generator[FinishedTrial]:
    with closing(running) as finished:
        yield from finished
    selection.collect()
