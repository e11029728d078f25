from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from bench.execution.executor import FinishedTrial
from bench.execution.inline import InlineExecutor
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig


def test_trials_run_by_groups_and_end_one_by_one(tmp_path: Path, make_trial: Callable[..., Trial]) -> None:
    trials = [make_trial(), make_trial(seed=1), make_trial("Raises")]
    before, store = torch.get_num_threads(), Store(tmp_path, "embedded", "s")
    running = InlineExecutor(tmp_path, ExecutionConfig()).run(trials)
    assert next(running) == FinishedTrial(trials[0], "done")
    assert [store.status(trial.id) for trial in trials] == ["done", None, None]
    assert list(running) == [
        FinishedTrial(trials[2], "failed", "ZeroDivisionError: half way"),
        FinishedTrial(trials[1], "done"),
    ]
    assert torch.get_num_threads() == before
