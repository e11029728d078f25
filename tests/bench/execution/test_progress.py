"""How far a fit is reaches whoever runs it, from this process and through the pipes of others."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest

from bench.execution.inline import InlineExecutor
from bench.execution.pool import PoolExecutor
from bench.execution.progress import LimitedProgress, sender
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.progress import FitProgress


@pytest.mark.parametrize("processes", [1, 2])
def test_progress_comes_before_the_end(tmp_path: Path, make_trial: Callable[..., Trial], processes: int) -> None:
    shown: list[FitProgress] = []
    trial, events = make_trial("Tells"), list[str]()

    def show(progress: FitProgress) -> None:
        shown.append(progress)
        events.append("progress")

    config = ExecutionConfig(on_progress=show)
    results = tmp_path / "results"
    executor = InlineExecutor(results, config) if processes == 1 else PoolExecutor(results, config, processes)
    for finished in executor.run([trial]):
        assert (finished.trial, finished.status) == (trial, "done")
        events.append("end")
    assert events == ["progress"] * len(shown) + ["end"]
    assert {told.trial for told in shown} == {trial.label}
    steps = [told for told in shown if told.text == "steps"]
    assert [(told.done, told.total) for told in steps] in ([(1001, 1001)], [(1, 1001), (1001, 1001)])
    assert any(told.text == "images evaluated" for told in shown)


def test_it_is_limited_and_never_waits() -> None:
    shown: list[FitProgress] = []
    limited = LimitedProgress(shown.append)
    for step in range(10_000):
        limited(FitProgress("t", step, 10_000, ""))
    assert 1 <= len(shown) < 1000
    near, far = Pipe()
    for _ in range(3000):  # each a new limit: far more than the pipe holds, and nobody reads
        sender(near)(FitProgress("t", 0, 1, "x" * 80))
    assert far.recv() == FitProgress("t", 0, 1, "x" * 80)
    far.close()
    time.sleep(0.01)
    sender(near)(FitProgress("t", 0, 1, ""))  # nor does a closed end matter
