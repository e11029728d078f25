"""Jobs of this machine; tests/slurm has those of a real SLURM."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import cli
from bench.cluster.config import ClusterConfig
from bench.cluster.executor import ClusterExecutor, exclusive
from bench.cluster.submission import Submission, new_folder
from bench.core import provenance
from bench.core.errors import UserError
from bench.results.schema import ResultRow
from bench.results.store import Store
from bench.specs.trial import Trial

ONE = ("headline", "--only", "model=convnext", "--only", "pruner=magnitude", "--seeds", "0")


def test_a_local_job_is_submitted_once_and_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(command: str, *arguments: str) -> str:
        cli.main([command, *arguments, "--results", str(tmp_path)])
        return capsys.readouterr().out

    run = ("run", *ONE, "--cluster", "local", "--allow-dirty")
    assert "submitted 1 jobs: " in called(*run)
    try:
        assert "1 in jobs already, 0 to run" in called(*run)
        assert called("status", *ONE).split()[1] in ("pending", "running")
    finally:
        assert "cancelled 1 jobs" in called("cancel", "headline")
    end = time.monotonic() + 30
    while called("status", *ONE).split()[1] != "cancelled":
        assert time.monotonic() < end
        time.sleep(0.2)
    assert "1 trials, 0 done, 1 to run" in called(*run, "--dry-run")


class EndedExecutor(ClusterExecutor):
    """Submits one job that has ended already: its first trial is done, its second failed, its third has no rows."""

    def submit(self, trials: Sequence[Trial]) -> list[str]:
        folder = new_folder(self.store)
        folder.create(
            Submission(
                cluster="local", profile="embedded", sweep="table1", results=self.store.folder.parents[1], device="cpu",
                threads=1, memory_gb=None, micro_batch=None, time_limit=None, signal_delay=60, commit=None, dirty=None,
                versions="{}", jobs=(tuple(trials),),
            )
        )  # fmt: skip
        job = "999999999"  # the number of no process
        folder.record({job: [trial.id for trial in trials]})
        for trial, status, error in zip(trials, ("done", "failed"), (None, "ValueError: boom"), strict=False):
            row = ResultRow(trial_id=trial.id, status=status, error=error, host="n1", job=job)
            self.store.write(trial.id, [row], [])
        return [job]


def test_each_trial_is_yielded_as_it_ends(store: Store, trials: Sequence[Trial]) -> None:
    executor = EndedExecutor(store, ClusterConfig(), "local", poll_seconds=0, lost_after_seconds=0.01, allow_dirty=True)
    done, failed, lost = executor.run(trials)
    assert (done.trial, done.status, done.error) == (trials[0], "done", None)
    assert (failed.trial, failed.status) == (trials[1], "failed")
    assert failed.error is not None
    assert "ValueError: boom" in failed.error
    assert (lost.trial, lost.status) == (trials[2], "failed")
    assert lost.error is not None
    assert "job 999999999: FAILED" in lost.error
    assert [finished.status for finished in executor.run(trials[:1])] == ["done"], "it is not submitted again"
    assert len(list(store.folder.glob("jobs/*/jobs.json"))) == 1


def test_an_end_without_a_result_is_believed_after_a_while(store: Store, trials: Sequence[Trial]) -> None:
    """Meanwhile the rows may still come."""

    class LateExecutor(EndedExecutor):
        def submit(self, trials: Sequence[Trial]) -> list[str]:
            jobs = super().submit(trials)
            threading.Timer(
                0.5, store.write, (trials[2].id, [ResultRow(trial_id=trials[2].id, status="done")], [])
            ).start()
            return jobs

    executor = LateExecutor(store, ClusterConfig(), "local", poll_seconds=0.05, lost_after_seconds=2, allow_dirty=True)
    ended = {finished.trial.id: finished.status for finished in executor.run(trials)}
    assert ended == {trials[0].id: "done", trials[1].id: "failed", trials[2].id: "done"}


def test_code_that_no_commit_tells_of_and_other_sweeps_are_refused(
    store: Store, trials: Sequence[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "dirty", lambda: True)
    with pytest.raises(UserError, match="the checkout differs from its commit"):
        next(ClusterExecutor(store, ClusterConfig(), "local").run(trials))
    other = [trial.model_copy(update={"sweep": "mine"}) for trial in trials]
    with pytest.raises(
        UserError, match=r"a trial of mine \(embedded\) cannot be submitted as one of table1 \(embedded\)"
    ):
        ClusterExecutor(store, ClusterConfig(), "local").submit(other)
    assert not list(store.folder.glob("jobs/*/jobs.json"))


def test_one_process_submits_at_a_time(store: Store) -> None:
    with (
        exclusive(store),
        pytest.raises(UserError, match="another capbench run is submitting table1"),
        exclusive(store),
    ):
        pass
    with exclusive(store):
        pass


@pytest.mark.parametrize(
    ("cluster", "config", "message"),
    [
        ("local", ClusterConfig(nodes=2), "--cluster local has one node, not 2"),
        ("slurm", ClusterConfig(), "SLURM needs a time limit"),
        ("slurm", ClusterConfig(time=1, signal_delay=60), "60 s before the limit leaves nothing of 1 minutes"),
    ],
)
def test_settings_that_do_not_fit_are_refused(store: Store, trials, cluster, config, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClusterExecutor(store, config, cluster).submit(trials)
    assert not store.folder.exists()
