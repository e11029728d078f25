from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator

import pytest

from bench.cluster.job import GroupJob, RunningJob, check_commit, identity_mistake, idle_timeouts
from bench.cluster.slurm import JobState
from bench.cluster.submission import Event
from bench.cluster.submitted import SubmittedJob
from bench.core.errors import UserError
from bench.results.schema import ResultRow

WAITING = JobState("PENDING", "", "Resources", active=True)


def test_time_limits_in_a_row_without_progress_are_counted(make_job: Callable[..., SubmittedJob]) -> None:
    folder = make_job(WAITING).folder

    def start_and_end(progress: str, event: Event) -> None:
        folder.note("7_0", "start", progress=progress)
        folder.note("7_0", "trial", trial_id="t")
        folder.note("7_0", event)

    start_and_end("a", "timeout")
    start_and_end("b", "timeout")
    assert idle_timeouts(folder.notes("7_0"), "b") == 1
    assert idle_timeouts(folder.notes("7_0"), "c") == 0, "something was written meanwhile"
    start_and_end("b", "timeout")
    assert idle_timeouts(folder.notes("7_0"), "b") == 2
    start_and_end("b", "preempted")
    assert idle_timeouts(folder.notes("7_0"), "b") == 0, "preemption is not the trial's fault"


def test_other_code_than_was_submitted_is_refused(make_job: Callable[..., SubmittedJob]) -> None:
    submission = make_job(WAITING).folder.submission()
    check_commit(submission)
    with pytest.raises(UserError, match="submitted at commit 0000000"):
        check_commit(submission.model_copy(update={"commit": "0" * 40}))


def test_a_trial_of_other_data_than_were_submitted_fails_where_it_is_looked_for(
    in_job: str, make_job: Callable[..., SubmittedJob], store, trials
) -> None:
    known = ("0" * 16, *(trial.id for trial in trials[1:]))
    folder = make_job(WAITING, in_job, trial_ids=(known,)).folder
    job = RunningJob.read(folder, 0)
    job.check_identities()
    assert [trial.id for trial in job.left()] == list(known[1:])
    error = store.failure(known[0]).error
    assert error.startswith(f"its identity is {trials[0].id} on this node, but {known[0]} was submitted")
    assert job.failures() == [f"{known[0]}: {error}"]
    assert "identity" in store.log(known[0]).read_text()


def test_a_trial_that_cannot_be_read_on_the_node_is_told(trials) -> None:
    elsewhere = trials[0].model_copy(update={"pruner": "/nowhere/mine.py:Mine"})
    assert "/nowhere/mine.py" in (identity_mistake(elsewhere, "0" * 16) or "")
    assert identity_mistake(trials[0], trials[0].id) is None


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Makes this the process of a local job, and returns the job's id."""
    handler = signal.getsignal(signal.SIGUSR2)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "7_0")
    yield "7_0"
    signal.signal(signal.SIGUSR2, handler)


def test_an_interrupted_job_is_requeued_as_it_was_submitted(in_job: str, make_job: Callable[..., SubmittedJob]) -> None:
    """What the process knows of its own run is not for the next one."""
    folder = make_job(WAITING, in_job).folder
    job = GroupJob(folder.path, 0)
    submitted = pickle.dumps(job)
    requeued = job.checkpoint()
    assert requeued.function is job
    assert pickle.dumps(requeued.function) == submitted
    assert [note.event for note in folder.notes(in_job)] == ["preempted"]
    restored = pickle.loads(submitted)
    assert (restored.folder.path, restored.index) == (folder.path, 0)


def test_a_signal_after_the_last_trial_ends_the_job(
    in_job: str, make_job: Callable[..., SubmittedJob], store, trials
) -> None:
    job = make_job(WAITING, in_job)
    for trial in trials:
        store.write(trial.id, [ResultRow(trial_id=trial.id, status="done")], [])
    with pytest.raises(SystemExit, match="nothing is left"):
        GroupJob(job.folder.path, 0).checkpoint()
