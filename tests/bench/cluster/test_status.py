"""Standings from made results and jobs; tests/slurm has them from a real SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import load_sweep
from bench.cluster import submit
from bench.cluster.job import GroupJob, Submission, folders, new_folder, split
from bench.cluster.slurm import JobState
from bench.cluster.status import SweepStatus, TrialStatus, summary
from bench.cluster.submit import Job
from bench.results.store import Store
from bench.specs.trial import Trial

TRIALS = load_sweep("table1").trials("embedded")[:3]
RUNNING = JobState("RUNNING", "n1", active=True)
WAITING = JobState("PENDING", "", "Resources", active=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "embedded", "table1")


def job(store: Store, state: JobState, name: str = "7_0", trials: tuple[Trial, ...] = TRIALS) -> Job:
    folder = new_folder(store)
    folder.create(
        Submission(
            cluster="slurm", profile="embedded", sweep="table1", results=store.folder.parents[1], device="cpu",
            threads=1, memory_gb=None, micro_batch=None, time_limit=10, signal_delay=60, commit=None, dirty=None,
            versions="{}", constraints=None, jobs=(trials,),
        )
    )  # fmt: skip
    folder.record({name: [trial.id for trial in trials]})
    return Job(folder, name, tuple(trial.id for trial in trials), state)


def write(store: Store, trial: Trial, status: str, **values: str) -> None:
    store.write(trial.id, [{"trial_id": trial.id, "status": status, **values}], [])


def stand(store: Store, *jobs: Job) -> list[TrialStatus]:
    return [SweepStatus(store, jobs).standing(trial) for trial in TRIALS]


def states(store: Store, *jobs: Job) -> list[str]:
    return [standing.state for standing in stand(store, *jobs)]


def test_without_jobs_the_results_decide(store: Store) -> None:
    write(store, TRIALS[0], "done")
    write(store, TRIALS[1], "failed", error="ValueError: boom", host="n1", job="3_1")
    found = stand(store)
    assert [standing.state for standing in found] == ["done", "failed", "to run"]
    assert "ValueError: boom on n1, job 3_1" in found[1].line()
    assert summary(found) == "1 done, 1 failed, 1 to run"
    assert all(standing.is_settled for standing in found)


def test_a_running_job_is_at_one_of_its_trials(store: Store) -> None:
    running = job(store, RUNNING)
    running.folder.note("7_0", "start", progress="x")
    assert states(store, running) == ["pending"] * 3, "it has not begun with any"
    running.folder.note("7_0", "trial", trial_id=TRIALS[0].id)
    write(store, TRIALS[0], "done")
    running.folder.note("7_0", "trial", trial_id=TRIALS[1].id)
    assert states(store, running) == ["done", "running", "pending"]


def test_an_interrupted_job_that_waits_is_preempted(store: Store) -> None:
    waiting = job(store, WAITING)
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
def test_a_job_that_ended_took_the_trial_it_was_at_with_it(store: Store, state: str, expected: str) -> None:
    ended = job(store, JobState(state, "n2"))
    ended.folder.note("7_0", "start", progress="x")
    ended.folder.note("7_0", "trial", trial_id=TRIALS[0].id)
    ended.folder.log("7_0").write_text("Killed")
    first, *rest = stand(store, ended)
    assert first.state == expected
    assert f"job 7_0: {state} on n2" in first.detail
    assert first.log == ended.folder.log("7_0")
    assert {standing.state for standing in rest} == {"cancelled" if state == "CANCELLED" else "to run"}


def test_a_job_that_failed_before_its_first_trial_says_so(store: Store) -> None:
    assert states(store, job(store, JobState("FAILED", "n2"))) == ["failed"] * 3
    assert states(store, job(store, JobState("UNKNOWN"))) == ["to run"] * 3


def test_a_retry_that_waits_goes_above_the_failure_before(store: Store) -> None:
    failed = job(store, JobState("COMPLETED", "n1"), "7_0")
    write(store, TRIALS[0], "failed", error="boom", job="7_0")
    assert states(store, failed)[0] == "failed"
    assert states(store, failed, job(store, WAITING, "9", TRIALS[:1]))[0] == "pending"
    running = job(store, RUNNING, "7_0")
    assert states(store, running)[0] == "failed", "this very job has given it up"


def test_what_a_running_job_has_given_up_may_be_submitted_again(store: Store, monkeypatch) -> None:
    running = job(store, RUNNING)
    monkeypatch.setattr(submit, "all_jobs", lambda _: [running])
    write(store, TRIALS[0], "timeout", error="too long", job="7_0")
    write(store, TRIALS[1], "failed", error="boom", job="3")
    assert submit.busy(store) == {trial.id for trial in TRIALS[1:]}


def test_a_damaged_file_is_named(store: Store) -> None:
    write(store, TRIALS[0], "done")
    store.path(TRIALS[0].id).write_bytes(b"PAR1")
    first, *_ = stand(store)
    assert first.state == "damaged"
    assert str(store.path(TRIALS[0].id)) in first.detail


def test_submissions_are_read_back_oldest_first(store: Store) -> None:
    jobs = [job(store, WAITING, str(number)) for number in range(3)]
    assert [folder.path for folder in folders(store)] == [one.folder.path for one in jobs]
    assert folders(store)[0].submission().jobs == (TRIALS,)
    assert GroupJob(jobs[0].folder.path, 0).index == 0


def test_groups_are_split_at_the_limit() -> None:
    a, b, c = TRIALS
    assert split([[a, b, c]], [[4.0, 4.0, 4.0]], 8.0) == [[a, b], [c]]
    assert split([[a], [b, c]], [[1.0], [1.0, 1.0]], 100.0) == [[a], [b, c]], "groups are not joined"
    assert split([[a, b, c]], [[99.0, 1.0, 99.0]], 8.0) == [[a], [b], [c]], "too long alone, but nothing is left out"


def test_time_limits_in_a_row_without_progress_are_counted(store: Store) -> None:
    folder = job(store, WAITING).folder

    def start_and_end(progress: str, event: str) -> None:
        folder.note("7_0", "start", progress=progress)
        folder.note("7_0", "trial", trial_id="t")
        folder.note("7_0", event)

    start_and_end("a", "timeout")
    start_and_end("b", "timeout")
    assert GroupJob._idle_timeouts(folder, "7_0", "b") == 1
    assert GroupJob._idle_timeouts(folder, "7_0", "c") == 0, "something was written meanwhile"
    start_and_end("b", "timeout")
    assert GroupJob._idle_timeouts(folder, "7_0", "b") == 2
    start_and_end("b", "preempted")
    assert GroupJob._idle_timeouts(folder, "7_0", "b") == 0, "preemption is not the trial's fault"
