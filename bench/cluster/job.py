"""Jobs of a cluster: all that they are to run lies on disk, and so does all that they have done."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import submitit
from submitit.helpers import Checkpointable, DelayedSubmission

from bench.cluster.submission import ROOT, Event, JobNote, Submission, SubmissionFolder
from bench.core import provenance
from bench.core.errors import UserError
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.checkpoint import FILE
from bench.trials.progress import FitProgress

EARLY = 60  # seconds that SLURM may send its signal before it is due
IDLE_TIMEOUTS = 2  # time limits in a row that a job may reach without anything new on disk


LOG_SECONDS = 60  # between two lines of a job's log that say how far it is


class FailedTrialsError(Exception):
    """Trials of a job ended without a result."""


@dataclass(frozen=True)
class RunningJob:
    """One job of a submission, in a process that runs it.

    Attributes:
        folder: Folder of the submission.
        submission: The submission.
        id: Id on the cluster.
        trials: Trials of the job, in order.
        trial_ids: Their identities where they were submitted.
    """

    folder: SubmissionFolder
    submission: Submission
    id: str
    trials: tuple[Trial, ...]
    trial_ids: tuple[str, ...]

    @classmethod
    def read(cls, folder: SubmissionFolder, index: int) -> RunningJob:
        """Reads the job that this process belongs to.

        Args:
            folder: Folder of the submission.
            index: Number of the job in the submission, from 0.

        Raises:
            UserError: If other code wrote the submission.
        """
        submission = folder.submission()
        trials = submission.jobs[index]
        known = submission.trial_ids[index] if submission.trial_ids else tuple(trial.id for trial in trials)
        return cls(folder, submission, submitit.JobEnvironment().job_id, trials, known)

    @property
    def store(self) -> Store:
        """Results of the sweep."""
        return Store(self.submission.results, self.submission.profile, self.submission.sweep)

    def left(self) -> Iterator[Trial]:
        """Yields the trials that are neither done nor given up by an earlier start of this same job."""
        return (trial for trial, _ in self._left())

    def _left(self) -> Iterator[tuple[Trial, str]]:
        """Yields the same, each with its identity where it was submitted."""
        store = self.store
        for trial, known in zip(self.trials, self.trial_ids, strict=True):
            if not (store.is_finished(known) or store.given_up(known, self.id)):
                yield trial, known

    def check_identities(self) -> None:
        """Stores the failure of every trial that is another one here than where it was submitted.

        Else its results would lie where nobody looks for them, and it would be run again and again.
        """
        from bench.execution.worker import store_failure  # brings much that takes long to import

        for trial, known in list(self._left()):
            if (reason := identity_mistake(trial, known)) is not None:
                store_failure(trial, known, self.store, reason)
                print(f"{known}  failed  {trial.label}: {reason}", flush=True)

    def failures(self) -> list[str]:
        """Returns a line for every trial of the job that ended without a result in it."""
        ended = (known for known in self.trial_ids if self.store.given_up(known, self.id))
        return [f"{known}: {self.store.failure(known).error}" for known in ended]

    def progress(self) -> str:
        """Returns a digest that changes whenever something new is on disk: rows, or a checkpoint."""
        found, store = [], self.store
        for known in self.trial_ids:
            for path in (store.path(known), store.folder / known / FILE):
                found.append(path.stat().st_mtime_ns if path.exists() else None)
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]

    def note(self, event: Event, progress: str | None = None, trial_id: str | None = None) -> None:
        """Notes an event in the job."""
        self.folder.note(self.id, event, progress, trial_id)

    def is_idle(self) -> bool:
        """Returns whether the job has reached the time limit as often as it may with nothing new on disk."""
        return idle_timeouts(self.folder.notes(self.id), self.progress()) >= IDLE_TIMEOUTS


class GroupJob(Checkpointable):
    """A job that runs its trials, each only if it is not done. However it ends, another start goes on from the disk.

    It is pickled as its arguments: what it knows of its run stays in the process.

    Args:
        folder: Folder of the submission.
        index: Number of the job in the submission, from 0.
    """

    def __init__(self, folder: str | Path, index: int) -> None:
        self.folder = SubmissionFolder(Path(folder))
        self.index = index
        self._began: float | None = None  # when this process had noted its start, on the monotonic clock
        self._leaving = False  # the signal has come: an exception on the way out is no failure of the trial

    def __reduce__(self) -> tuple[type[GroupJob], tuple[str, int]]:
        return type(self), (str(self.folder.path), self.index)

    def __call__(self) -> dict[str, str]:
        """Runs what is left.

        Returns:
            {trial id: status} of what ran.

        Raises:
            FailedTrialsError: If a trial of the job ended without a result: the cluster is to know, too.
        """
        import torch

        import bench.trials.runner  # noqa: F401  `checkpoint` needs it, and may come while it is being imported
        from bench.core import distributed
        from bench.execution.executor import group_by_calibration
        from bench.execution.progress import LimitedProgress
        from bench.execution.worker import run_group
        from bench.trials.context import ExecutionConfig
        from bench.trials.session import TrialSession

        job = RunningJob.read(self.folder, self.index)
        submission = job.submission
        check_commit(submission)
        distributed.init(submission.device)
        distributed.run_on_rank0(job.store.check_writable)
        distributed.run_on_rank0(job.check_identities)

        def begin(trial: Trial) -> None:
            if distributed.is_main():
                job.note("trial", trial_id=trial.id)

        if distributed.is_main():
            job.note("start", progress=job.progress())
        self._began = time.monotonic()
        budget = int(submission.memory_gb * 2**30) if submission.memory_gb is not None else None
        config = ExecutionConfig(
            submission.device,
            budget,
            submission.micro_batch,
            on_progress=LimitedProgress(_log, LOG_SECONDS) if distributed.is_main() else None,
            expected_top1=submission.expected_top1,
            compute=submission.compute,
            keep_models=submission.keep_models,
        )
        torch.set_num_threads(submission.threads)
        session = TrialSession(config.device)
        statuses: dict[str, str] = {}
        for group in group_by_calibration(distributed.run_on_rank0(lambda: list(job.left()))):
            for finished in run_group(group, submission.results, config, lambda: self._leaving, begin, session):
                trial, error = finished.trial, f": {finished.error}" if finished.error else ""
                statuses[trial.id] = finished.status
                print(f"{trial.id}  {finished.status}  {trial.label}{error}", flush=True)
        failures = distributed.run_on_rank0(job.failures)
        distributed.shutdown()
        if failures:
            raise FailedTrialsError(f"{len(failures)} of {len(job.trials)} trials failed, the first {failures[0]}")
        return statuses

    def checkpoint(self) -> DelayedSubmission:
        """Is called when the job is preempted or its time is up: all that counts is on disk already.

        submitit calls it in the process that runs the job, on the very object that runs, in a signal handler. A trial
        that has reached the time limit twice with nothing new on disk is given up.

        Returns:
            What goes on when the job is requeued.

        Raises:
            SystemExit: If nothing is left. What submitit would raise, a library that the signal interrupts may catch.
        """
        self._leaving = True
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM may send it twice
        job = RunningJob.read(self.folder, self.index)
        job.note("timeout" if self._timed_out(job.submission) else "preempted")
        if job.is_idle():
            for trial in itertools.islice(job.left(), 1):
                _give_up(trial, job)
        if next(job.left(), None) is None:
            raise SystemExit("nothing is left to run after this signal")
        return DelayedSubmission(self)

    def _timed_out(self, submission: Submission) -> bool:
        if submission.time_limit is None or self._began is None:
            return False
        ran = time.monotonic() - self._began
        return ran >= 60 * submission.time_limit - submission.signal_delay - EARLY


def _log(progress: FitProgress) -> None:
    print(f"{datetime.now():%m-%d %H:%M}  {progress}", flush=True)


def idle_timeouts(notes: Sequence[JobNote], progress: str) -> int:
    """Returns how many starts in a row, up to now, reached the time limit with nothing new on disk.

    Args:
        notes: Notes of a job, in order.
        progress: Digest of what is on disk now.
    """
    starts: list[tuple[str | None, bool]] = []  # progress at its beginning, whether it reached the limit
    for note in notes:
        if note.event == "start":
            starts.append((note.progress, False))
        elif note.event == "timeout":
            starts[-1] = (starts[-1][0], True)
    idle = itertools.takewhile(lambda start: start == (progress, True), reversed(starts))
    return len(list(idle))


def check_commit(submission: Submission) -> None:
    """Refuses to go on with other code than was submitted: the rows of a sweep would not belong together.

    Raises:
        UserError: If the commit is another one.
    """
    if provenance.commit() != submission.commit:
        raise UserError(
            f"submitted at commit {submission.commit}, but {ROOT} is now at {provenance.commit()}: check that one out "
            "again, or cancel the sweep and run it with the new code"
        )


def identity_mistake(trial: Trial, submitted: str) -> str | None:
    """Returns why a trial is another one in this process than where it was submitted; None if it is the same.

    Args:
        trial: The trial.
        submitted: Identity of the trial where it was submitted.
    """
    try:
        here, model = trial.id, trial.resolve().model
    except Exception as error:  # noqa: BLE001  a user's file may raise anything
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    if here == submitted:
        return None
    card = model.data_card()
    data = f" (here: {card.train:,} training and {card.test:,} test images)" if card is not None else ""
    return (
        f"its identity is {here} on this node, but {submitted} was submitted: data{data}, pruner's file or profile are "
        "not those of the machine it was submitted from; set the same variables on both, as `env` in cluster.toml does"
    )


def _give_up(trial: Trial, job: RunningJob) -> None:
    """Records a trial that the time limit is too short for."""
    from bench.trials.recorder import TrialRecorder

    recorder = TrialRecorder(trial.resolve(), job.submission.device)
    limit = job.submission.time_limit
    error = f"its time limit of {limit} minutes passed {IDLE_TIMEOUTS} times with nothing new on disk"
    recorder.timed_out(f"{error}: give it more with --time")
    job.store.write(trial.id, recorder.rows, recorder.layer_rows)
