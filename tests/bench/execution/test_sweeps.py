from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench.core.errors import UserError
from bench.execution.executor import FinishedTrial
from bench.execution.inline import InlineExecutor
from bench.execution.worker import execute
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

MakeTrial = Callable[..., Trial]


class Elsewhere:
    """An executor that runs trials here, and notes what it was given and when it was closed."""

    def __init__(self, results: Path) -> None:
        self.inline = InlineExecutor(results, ExecutionConfig())
        self.given: list[Trial] = []
        self.is_closed = False

    def run(self, trials: Sequence[Trial]) -> Generator[FinishedTrial]:
        self.given += trials
        try:
            yield from self.inline.run(trials)
        finally:
            self.is_closed = True


def sweep_of(*trials: Trial) -> Sweep:
    return Sweep(name="s", title="S", profiles={"embedded": trials})


def test_what_is_missing_runs_and_all_is_collected(tmp_path: Path, make_trial: MakeTrial) -> None:
    trials = [make_trial(seed=seed) for seed in range(3)]
    execute(trials[0], tmp_path, ExecutionConfig())
    executor = Elsewhere(tmp_path)
    ended = list(bench.run_sweep(sweep_of(*trials), seeds=(0, 1), results=tmp_path, executor=executor))
    assert ended == [FinishedTrial(trials[1], "done")]
    assert executor.given == trials[1:2]
    rows = pd.read_parquet(tmp_path / "embedded/s.parquet")
    assert set(rows["trial_id"]) == {trial.id for trial in trials[:2]}
    assert (rows["n_images"] == 100).all()
    assert list(bench.run_sweep(sweep_of(*trials), seeds=(0, 1), results=tmp_path)) == []


def test_it_runs_in_this_process_where_there_is_one_group(tmp_path: Path, make_trial: MakeTrial) -> None:
    trials = [make_trial(), make_trial("Raises")]
    ended = list(bench.run_sweep(sweep_of(*trials), results=tmp_path))
    assert [(one.trial, one.status) for one in ended] == [(trials[0], "done"), (trials[1], "failed")]


def test_closing_closes_the_executor(tmp_path: Path, make_trial: MakeTrial) -> None:
    executor = Elsewhere(tmp_path)
    running = bench.run_sweep(sweep_of(make_trial(), make_trial(seed=1)), results=tmp_path, executor=executor)
    next(running)
    assert not executor.is_closed
    running.close()
    assert executor.is_closed


def test_bad_input_is_refused_at_once(tmp_path: Path, make_trial: MakeTrial) -> None:
    with pytest.raises(UserError, match="the sweep has no seed 7"):
        bench.run_sweep(sweep_of(make_trial()), seeds=(7,), results=tmp_path)
    (tmp_path / "embedded").write_text("no folder")
    with pytest.raises(UserError, match="cannot write results to"):
        bench.run_sweep(sweep_of(make_trial()), results=tmp_path)
