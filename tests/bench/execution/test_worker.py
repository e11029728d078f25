from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.execution.executor import FinishedTrial
from bench.execution.worker import execute, run_group
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

MakeTrial = Callable[..., Trial]


def test_a_failure_is_stored_with_its_traceback(tmp_path: Path, make_trial: MakeTrial) -> None:
    trial, store = make_trial("Raises"), Store(tmp_path, "embedded", "s")
    assert execute(trial, tmp_path, ExecutionConfig()) == FinishedTrial(trial, "failed", "ZeroDivisionError: half way")
    assert store.status(trial.id) == "failed"
    assert store.failure(trial.id).error == "ZeroDivisionError: half way"
    assert "half way" in store.log(trial.id).read_text()


def test_a_device_that_cannot_be_used_is_a_failure_with_a_row_and_a_log(
    tmp_path: Path, make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine has: torch says the same where it finds no card."""

    def no_card(device: str) -> str:
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check")

    monkeypatch.setattr("torch.cuda.get_device_name", no_card)
    trial, store = make_trial(), Store(tmp_path, "embedded", "s")
    ended = execute(trial, tmp_path, ExecutionConfig("cuda"))
    error = "RuntimeError: Found no NVIDIA driver on your system. Please check"
    assert ended == FinishedTrial(trial, "failed", error), "in one line"
    assert store.failure(trial.id).error == error
    assert "Traceback" in store.log(trial.id).read_text()


def test_what_is_done_is_not_run_again(tmp_path: Path, make_trial: MakeTrial) -> None:
    trial, store = make_trial(), Store(tmp_path, "embedded", "s")
    assert execute(trial, tmp_path, ExecutionConfig()) == FinishedTrial(trial, "done")
    written = store.path(trial.id).stat().st_mtime_ns
    assert execute(trial, tmp_path, ExecutionConfig()) == FinishedTrial(trial, "done")
    assert store.path(trial.id).stat().st_mtime_ns == written
    assert not (store.folder / trial.id).exists(), "its checkpoint is needed no longer"


@pytest.mark.parametrize(("pruner", "code", "call"), [("Exits", 3, "sys.exit(3)"), ("Ends", 4, "os._exit(4)")])
def test_a_pruner_that_ends_the_process_fails_its_trial_alone(
    tmp_path: Path, make_trial: MakeTrial, pruner: str, code: int, call: str
) -> None:
    trials, store, end = [make_trial(pruner), make_trial()], Store(tmp_path, "embedded", "s"), os._exit
    ended = list(run_group(trials, tmp_path, ExecutionConfig(), leaving=lambda: False))
    assert ended == [FinishedTrial(trials[0], "failed", f"SystemExit: {code}"), FinishedTrial(trials[1], "done")]
    assert call in store.log(trials[0].id).read_text()
    assert os._exit is end


@pytest.mark.parametrize(("pruner", "error"), [("Raises", ZeroDivisionError), ("Exits", SystemExit)])
def test_what_is_raised_on_the_way_out_is_no_failure(
    tmp_path: Path, make_trial: MakeTrial, pruner: str, error: type[BaseException]
) -> None:
    trial = make_trial(pruner)
    with pytest.raises(error):
        list(run_group([trial], tmp_path, ExecutionConfig(), leaving=lambda: True))
    assert Store(tmp_path, "embedded", "s").status(trial.id) is None


def test_an_interruption_ends_the_group(tmp_path: Path, make_trial: MakeTrial) -> None:
    trial = make_trial("Interrupted")
    with pytest.raises(KeyboardInterrupt):
        list(run_group([trial, make_trial()], tmp_path, ExecutionConfig()))
    assert Store(tmp_path, "embedded", "s").status(trial.id) is None


def test_a_group_goes_on_after_a_failure(tmp_path: Path, make_trial: MakeTrial) -> None:
    begun: list[Trial] = []
    trials = [make_trial("Raises"), make_trial()]
    ended = list(run_group(trials, tmp_path, ExecutionConfig(), begin=begun.append))
    assert [one.status for one in ended] == ["failed", "done"]
    assert begun == trials


def test_results_that_cannot_be_stored_fail_the_trial(tmp_path: Path, make_trial: MakeTrial) -> None:
    (tmp_path / "embedded").write_text("no folder")
    [ended] = run_group([make_trial()], tmp_path, ExecutionConfig())
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error.startswith(("FileExistsError", "NotADirectoryError"))
