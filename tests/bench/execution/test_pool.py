from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.execution.pool import PoolExecutor
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

MakeTrial = Callable[..., Trial]


def wait_for_worker(folder: Path) -> psutil.Process:
    """Waits until a `Waits` is in the middle of its work, and returns its process."""
    deadline = time.monotonic() + 240
    while not (found := [path for path in folder.iterdir() if path.name.isdigit()]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return psutil.Process(int(found[0].name))


def test_a_trial_whose_process_dies_fails_alone(tmp_path: Path, make_trial: MakeTrial) -> None:
    """It is tried once more after all others; the rest of its group, and a trial that another one killed, are done."""
    names = ["Killed", "magnitude", "KilledOnce", "Exits"]
    trials = [make_trial(name) for name in names] + [make_trial(seed=1)]
    threads_before = os.environ.get("OMP_NUM_THREADS")
    ended = list(PoolExecutor(tmp_path / "results", ExecutionConfig(), 2).run(trials))
    found = {(one.trial.pruner.rpartition(":")[2], one.trial.seed): (one.status, one.error) for one in ended}
    assert found == {
        ("Killed", 0): ("failed", "its process was killed, perhaps because memory ran out"),
        ("magnitude", 0): ("done", None),
        ("KilledOnce", 0): ("done", None),
        ("Exits", 0): ("failed", "SystemExit: 3"),
        ("magnitude", 1): ("done", None),
    }
    assert len(ended) == len(trials)
    assert {one.trial.id for one in ended[-2:]} == {trials[0].id, trials[2].id}, "those whose process died come last"
    store = Store(tmp_path / "results", "embedded", "s")
    assert [store.status(trial.id) for trial in trials] == [None, "done", "done", "failed", "done"]
    assert os.environ.get("OMP_NUM_THREADS") == threads_before


def test_closing_ends_the_workers(tmp_path: Path, make_trial: MakeTrial) -> None:
    executor = PoolExecutor(tmp_path / "results", ExecutionConfig(), 2)
    running = executor.run([make_trial("Waits"), make_trial(seed=1)])
    assert next(running).trial.seed == 1
    worker = wait_for_worker(tmp_path)
    assert list(tmp_path.glob("results/embedded/s/.x.parquet*"))
    running.close()
    assert not worker.is_running()
    assert not list(tmp_path.glob("results/embedded/s/.x.parquet*")), "nothing half written is left"


def test_workers_end_with_their_parent(tmp_path: Path, make_trial: MakeTrial) -> None:
    trial = make_trial("Waits")
    code = (
        "import sys; from pathlib import Path; from bench.execution.pool import PoolExecutor\n"
        "from bench.specs.trial import Trial; from bench.trials.context import ExecutionConfig\n"
        "if __name__ == '__main__':\n"
        "    trial = Trial.model_validate_json(sys.argv[1])\n"
        "    list(PoolExecutor(Path(sys.argv[2]), ExecutionConfig(), 1).run([trial]))\n"
    )
    (tmp_path / "script.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), trial.model_dump_json(), str(tmp_path / "results")]
    )
    worker = wait_for_worker(tmp_path)
    parent.kill()
    parent.wait()
    try:
        worker.wait(timeout=60)
    except psutil.TimeoutExpired:  # pragma: no cover
        worker.kill()
        pytest.fail("a worker outlives its parent")


def test_a_generator_that_nobody_closes_does_not_hold_up_the_end(tmp_path: Path, make_trial: MakeTrial) -> None:
    """A worker that ends by itself says with which code."""
    (tmp_path / "leaves.py").write_text(
        "import ctypes, cap\nclass Leaves(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n"
        "        ctypes.CDLL(None)._exit(3)\n"  # past Python, as a library that aborts
    )
    leaves = make_trial().model_copy(update={"pruner": f"{tmp_path}/leaves.py:Leaves"})
    code = (
        "import sys; from pathlib import Path; from bench.execution.pool import PoolExecutor\n"
        "from bench.specs.trial import Trial; from bench.trials.context import ExecutionConfig\n"
        "if __name__ == '__main__':\n"
        "    trials = [Trial.model_validate_json(text) for text in sys.argv[2:]]\n"
        "    running = PoolExecutor(Path(sys.argv[1]), ExecutionConfig(), 1).run(trials)\n"
        "    print(next(running).error)\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "results")]
    texts = [leaves.model_dump_json(), make_trial("Waits").model_dump_json()]
    done = subprocess.run([*command, texts[0]], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout == "its process ended with exit code 3\n"
    done = subprocess.run(
        [*command, make_trial(seed=1).model_dump_json(), texts[1]],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout == "None\n"


def test_nothing_to_run(tmp_path: Path) -> None:
    assert list(PoolExecutor(tmp_path, ExecutionConfig(), 2).run([])) == []
