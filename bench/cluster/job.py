"""The jobs of a cluster: what they are to run lies on disk, and so does all that they have done."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import submitit
from pydantic import Field
from submitit.helpers import Checkpointable, DelayedSubmission

from bench.core import provenance
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.checkpoint import FILE

ROOT = Path(__file__).parents[2]
EARLY = 60  # seconds that SLURM may send its signal before it is due
IDLE_TIMEOUTS = 2  # time limits in a row that a job may reach without anything new on disk


def constraints() -> str | None:
    """Returns the SHA-256 of the pinned versions beside the code, or None where there are none."""
    path = ROOT / "constraints.txt"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


class Submission(Spec):
    """What was submitted together.

    Attributes:
        cluster: `slurm` or `local`.
        results: Folder of all results, absolute.
        device: The torch device of all trials.
        threads: Cores of each process.
        memory_gb: GiB that a fit may take, None for what is free.
        micro_batch: Training images that a process has in one forward pass, None for its share of a whole batch.
        time_limit: Minutes, None for none.
        signal_delay: Seconds before the limit at which a job is told.
        commit: Of the code that submitted; `dirty`, `versions` and `constraints` likewise.
        jobs: For each job its trials, in order.
    """

    cluster: Literal["slurm", "local"]
    profile: str
    sweep: str
    results: Path
    device: str
    threads: int = Field(ge=1)
    memory_gb: float | None
    micro_batch: int | None
    time_limit: int | None
    signal_delay: int
    commit: str | None
    dirty: bool | None
    versions: str
    constraints: str | None
    jobs: tuple[tuple[Trial, ...], ...]


class Folder:
    """A submission on disk: `submission.json`, the jobs' ids, what they noted, their logs.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def logs(self) -> Path:
        """Logs and pickles of the jobs."""
        return self.path / "logs"

    def create(self, submission: Submission) -> None:
        """Writes what is to be submitted."""
        self.logs.mkdir(parents=True)
        _write(self.path / "submission.json", submission.model_dump_json())
        _write(self.path / "jobs.json", "{}")

    def submission(self) -> Submission:
        """Reads what was submitted."""
        return Submission.model_validate_json((self.path / "submission.json").read_text())

    @cached_property
    def cluster(self) -> str:
        """The cluster it was submitted to."""
        return json.loads((self.path / "submission.json").read_text())["cluster"]

    def record(self, ids: dict[str, list[str]]) -> None:
        """Adds jobs that were submitted: {job id: trial ids}."""
        _write(self.path / "jobs.json", json.dumps({**self.jobs(), **ids}, indent=1))

    def jobs(self) -> dict[str, list[str]]:
        """Returns the jobs that were submitted: {job id: trial ids, in order}."""
        return json.loads((self.path / "jobs.json").read_text())

    def log(self, job: str) -> Path:
        """Returns where a job writes what goes wrong."""
        return self.logs / f"{job}_0_log.err"

    def note(self, job: str, event: str, **values: Any) -> None:
        """Notes something that happened to a job."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"event": event, "at": now, "host": provenance.host(), **values})
        with self._notes(job).open("a") as file:
            file.write(line + "\n")

    def notes(self, job: str) -> list[dict[str, Any]]:
        """Returns what was noted of a job, in order."""
        path = self._notes(job)
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]

    def _notes(self, job: str) -> Path:
        return self.logs / f"{job}_notes.jsonl"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def folders(store: Store) -> list[Folder]:
    """Returns all submissions of a sweep, the oldest first."""
    return [Folder(path.parent) for path in sorted(store.folder.glob("jobs/*/jobs.json"))]


def new_folder(store: Store) -> Folder:
    """Returns where the next submission goes: names sort by time."""
    return Folder(store.folder / "jobs" / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}")


class GroupJob(Checkpointable):
    """One job: runs its trials, each only if it is not done. Whatever ends it, another start goes on from the disk.

    Args:
        folder: The submission.
        index: Which of its jobs this is.
    """

    began: float | None = None  # when this process had noted its start, on the monotonic clock
    leaving = False  # the signal has come: an exception on the way out is no failure of the trial

    def __init__(self, folder: Path, index: int) -> None:
        self.folder = str(folder)
        self.index = index

    def __call__(self) -> dict[str, str]:
        """Runs what is left.

        Returns:
            {trial id: status} of what ran.
        """
        import torch

        import bench.trials.runner  # noqa: F401  `checkpoint` needs it, and may come in the midst of an import
        from bench.core import distributed
        from bench.execution.executor import FinishedTrial, group_by_calibration
        from bench.execution.worker import run_group
        from bench.trials.context import ExecutionConfig

        folder = Folder(Path(self.folder))
        submission = folder.submission()
        _check_code(submission)
        job = submitit.JobEnvironment().job_id
        store = Store(submission.results, submission.profile, submission.sweep)
        distributed.init(submission.device)
        distributed.run_on_rank0(store.check_writable)
        statuses: dict[str, str] = {}

        def note(event: str, **values: Any) -> None:
            if distributed.is_main():
                folder.note(job, event, **values)

        def report(finished: FinishedTrial) -> None:
            trial, error = finished.trial, finished.error
            statuses[trial.id] = finished.status
            print(f"{trial.id}  {finished.status}  {trial.label}{f': {error}' if error else ''}", flush=True)

        note("start", progress=self._progress(submission, store))
        GroupJob.began = time.monotonic()
        budget = int(submission.memory_gb * 2**30) if submission.memory_gb is not None else None
        config = ExecutionConfig(submission.device, budget, submission.micro_batch)
        torch.set_num_threads(submission.threads)
        left = distributed.run_on_rank0(lambda: list(self._left(submission, store, job)))
        for group in group_by_calibration(left):
            begin = lambda trial: note("trial", trial_id=trial.id)  # noqa: E731
            for finished in run_group(group, submission.results, config, lambda: GroupJob.leaving, begin):
                report(finished)
        distributed.shutdown()
        return statuses

    def _left(self, submission: Submission, store: Store, job: str) -> Iterator[Trial]:
        """Yields the trials that are neither done nor given up by an earlier start of this same job."""
        for trial in submission.jobs[self.index]:
            if not (store.is_finished(trial.id) or store.given_up(trial.id, job)):
                yield trial

    def _progress(self, submission: Submission, store: Store) -> str:
        """Returns what changes whenever something new is on disk: rows, or a checkpoint."""
        found = []
        for trial in submission.jobs[self.index]:
            for path in (store.path(trial.id), store.folder / trial.id / FILE):
                found.append(path.stat().st_mtime_ns if path.exists() else None)
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]

    def checkpoint(self) -> DelayedSubmission:
        """Is called when the job is preempted or its time is up: all that counts is on disk already.

        A trial that has reached the time limit twice with nothing new on disk is given up.

        Returns:
            What goes on when the job is requeued.

        Raises:
            SystemExit: If nothing is left. What submitit would raise, a library that the signal interrupts may catch.
        """
        GroupJob.leaving = True
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM may send it twice
        folder = Folder(Path(self.folder))
        submission, job = folder.submission(), submitit.JobEnvironment().job_id
        store = Store(submission.results, submission.profile, submission.sweep)
        folder.note(job, "timeout" if self._timed_out(submission) else "preempted")
        if self._idle_timeouts(folder, job, self._progress(submission, store)) >= IDLE_TIMEOUTS:
            for trial in list(self._left(submission, store, job))[:1]:
                _give_up(trial, store, submission)
        if not any(self._left(submission, store, job)):
            raise SystemExit("nothing is left to run after this signal")
        return DelayedSubmission(self)

    @staticmethod
    def _timed_out(submission: Submission) -> bool:
        if submission.time_limit is None or GroupJob.began is None:
            return False
        ran = time.monotonic() - GroupJob.began
        return ran >= 60 * submission.time_limit - submission.signal_delay - EARLY

    @staticmethod
    def _idle_timeouts(folder: Folder, job: str, progress: str) -> int:
        """Returns how many starts in a row, up to now, reached the time limit with the disk as it is now."""
        starts: list[tuple[str, bool]] = []  # progress at its beginning, whether it reached the limit
        for note in folder.notes(job):
            if note["event"] == "start":
                starts.append((note["progress"], False))
            elif note["event"] == "timeout":
                starts[-1] = (starts[-1][0], True)
        idle = itertools.takewhile(lambda start: start == (progress, True), reversed(starts))
        return len(list(idle))


def _check_code(submission: Submission) -> None:
    """Refuses to go on with other code than was submitted: the rows of a sweep would not belong together.

    Raises:
        UserError: If the commit is another one.
    """
    if provenance.commit() != submission.commit:
        raise UserError(
            f"submitted at commit {submission.commit}, but {ROOT} is now at {provenance.commit()}: check that one out "
            "again, or cancel the sweep and run it with the new code"
        )


def _give_up(trial: Trial, store: Store, submission: Submission) -> None:
    """Records a trial that the time limit is too short for."""
    from bench.trials.recorder import TrialRecorder

    recorder = TrialRecorder(trial.resolve(), submission.device)
    error = f"its time limit of {submission.time_limit} minutes passed {IDLE_TIMEOUTS} times with nothing new on disk"
    recorder.timed_out(f"{error}: give it more with --time")
    store.write(trial.id, recorder.rows, recorder.layer_rows)


def split(groups: Sequence[Sequence[Trial]], seconds: Sequence[Sequence[float]], limit: float) -> list[list[Trial]]:
    """Splits groups of trials into jobs that fit into a time limit; a trial that is longer alone gets a job of its own.

    Args:
        groups: Trials that share what is computed on the calibration images.
        seconds: What each of them is expected to take.
        limit: Seconds.
    """
    jobs: list[list[Trial]] = []
    for group, times in zip(groups, seconds, strict=True):
        job: list[Trial] = []
        taken = 0.0
        for trial, time_needed in zip(group, times, strict=True):
            if job and taken + time_needed > limit:
                jobs.append(job)
                job, taken = [], 0.0
            job.append(trial)
            taken += time_needed
        jobs.append(job)
    return jobs
