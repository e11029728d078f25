"""Statuses from made results and jobs; tests/slurm has them from a real SLURM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.cluster.slurm import JobState
from bench.cluster.status import SweepStatus, TrialStatus, summary
from bench.cluster.submitted import SubmittedJob
from bench.results.schema import ResultRow
from bench.results.store import Store
from bench.specs.discovery import load_sweep
from bench.specs.trial import Trial
from bench.trials.progress import FILE

TRIALS = load_sweep("table1").trials("embedded")[:3]
RUNNING = JobState("RUNNING", "n1", active=True)
WAITING = JobState("PENDING", "", "Resources", active=True)
MakeJob = Callable[..., SubmittedJob]


def write(store: Store, trial: Trial, status: str, **values: str) -> None:
    store.write(trial.id, [ResultRow(trial_id=trial.id, status=status, **values)], [])


def stand(store: Store, *jobs: SubmittedJob) -> list[TrialStatus]:
    return [SweepStatus(store, jobs).status(trial) for trial in TRIALS]


def states(store: Store, *jobs: SubmittedJob) -> list[str]:
    return [standing.state for standing in stand(store, *jobs)]


def test_without_jobs_the_results_decide(store: Store) -> None:
    write(store, TRIALS[0], "done")
    write(store, TRIALS[1], "failed", error="ValueError: boom", host="n1", job="3_1")
    found = stand(store)
    assert [standing.state for standing in found] == ["done", "failed", "to run"]
    assert "ValueError: boom on n1, job 3_1" in found[1].line()
    assert summary(found) == "1 done, 1 failed, 1 to run"
    assert all(standing.is_settled for standing in found)


def test_a_running_job_is_at_one_of_its_trials(store: Store, make_job: MakeJob) -> None:
    running = make_job(RUNNING)
    running.folder.note("7_0", "start", progress="x")
    assert states(store, running) == ["pending"] * 3, "it has not begun with any"
    running.folder.note("7_0", "trial", trial_id=TRIALS[0].id)
    write(store, TRIALS[0], "done")
    running.folder.note("7_0", "trial", trial_id=TRIALS[1].id)
    assert states(store, running) == ["done", "running", "pending"]


def test_a_running_trial_tells_how_far_it_is(store: Store, make_job: MakeJob) -> None:
    running = make_job(RUNNING)
    running.folder.note("7_0", "trial", trial_id=TRIALS[0].id)
    assert stand(store, running)[0].detail == "job 7_0 on n1"
    path = store.folder / TRIALS[0].id / FILE
    path.parent.mkdir(parents=True)
    path.write_text('{"done": 30, "total": 300, "text": "epoch 1/3", "images_per_second": 800.4, "loss": 2.5}')
    assert stand(store, running)[0].detail == "epoch 1/3: 30/300, 800 images/s, loss 2.500, job 7_0 on n1"


def test_an_interrupted_job_that_waits_is_preempted(store: Store, make_job: MakeJob) -> None:
    waiting = make_job(WAITING)
    found = stand(store, waiting)
    assert [standing.state for standing in found] == ["pending"] * 3
    assert "(Resources)" in found[0].detail
    waiting.folder.note("7_0", "start", progress="x")
    waiting.folder.note("7_0", "preempted")
    assert states(store, waiting) == ["preempted"] * 3


@pytest.mark.parametrize(
    ("state", "expected"),
    [("FAILED", "failed"), ("OUT_OF_MEMORY", "failed"), ("UNKNOWN", "failed"), ("TIMEOUT", "timeout"),
     ("CANCELLED", "cancelled")],
)  # fmt: skip
def test_a_job_that_ended_took_the_trial_it_was_at_with_it(
    store: Store, make_job: MakeJob, state: str, expected: str
) -> None:
    ended = make_job(JobState(state, "n2"))
    ended.folder.note("7_0", "start", progress="x")
    ended.folder.note("7_0", "trial", trial_id=TRIALS[0].id)
    ended.folder.log("7_0").write_text("Killed")
    first, *rest = stand(store, ended)
    assert first.state == expected
    assert f"job 7_0: {state} on n2" in first.detail
    assert first.log == ended.folder.log("7_0")
    assert {standing.state for standing in rest} == {"cancelled" if state == "CANCELLED" else "to run"}


def test_a_job_that_failed_before_its_first_trial_says_so(store: Store, make_job: MakeJob) -> None:
    assert states(store, make_job(JobState("FAILED", "n2"))) == ["failed"] * 3
    assert states(store, make_job(JobState("UNKNOWN"))) == ["to run"] * 3


def test_a_job_that_left_no_row_tells_its_cause(store: Store, make_job: MakeJob) -> None:
    ended = make_job(JobState("FAILED", "n2"))
    ended.folder.log("7_0").write_text(
        "submitit ERROR (2026-11-27 03:00:00,000) - Submitted job triggered an exception\nTraceback ...\n"
        "bench.core.errors.UserError: no  card\n"
        "srun: error: n2: task 0: Exited with exit code 1\n"
    )
    first, *_ = stand(store, ended)
    assert first.detail == "bench.core.errors.UserError: no card: job 7_0: FAILED on n2"


def test_a_retry_that_waits_goes_above_the_failure_before(store: Store, make_job: MakeJob) -> None:
    failed = make_job(JobState("COMPLETED", "n1"), "7_0")
    write(store, TRIALS[0], "failed", error="boom", job="7_0")
    assert states(store, failed)[0] == "failed"
    assert states(store, failed, make_job(WAITING, "9", TRIALS[:1]))[0] == "pending"
    running = make_job(RUNNING, "7_0")
    assert states(store, running)[0] == "failed", "this very job has given it up"


def test_a_damaged_file_is_named(store: Store) -> None:
    write(store, TRIALS[0], "done")
    store.path(TRIALS[0].id).write_bytes(b"PAR1")
    first, *_ = stand(store)
    assert first.state == "damaged"
    assert str(store.path(TRIALS[0].id)) in first.detail
