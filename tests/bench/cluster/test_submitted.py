from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.cluster.slurm import JobState
from bench.cluster.submitted import SubmittedJob, busy
from bench.results.schema import ResultRow
from bench.results.store import Store
from bench.specs.trial import Trial


def test_what_a_running_job_has_given_up_may_be_submitted_again(
    store: Store, trials: Sequence[Trial], make_job: Callable[..., SubmittedJob]
) -> None:
    running = make_job(JobState("RUNNING", "n1", active=True))
    for trial, status, job in ((trials[0], "timeout", "7_0"), (trials[1], "failed", "3")):
        store.write(trial.id, [ResultRow(trial_id=trial.id, status=status, error="boom", job=job)], [])
    assert busy(store, [running]) == {trial.id for trial in trials[1:]}
