"""Submissions on disk: the jobs of one submission, their ids, their notes and logs."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.core import provenance
from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake
from bench.core.files import atomic_write
from bench.results.store import Store
from bench.specs.trial import Trial
from cap.training.accelerator import Compute

ROOT = Path(__file__).parents[2]  # of the checkout
LONGEST_CAUSE = 300  # characters

Cluster = Literal["slurm", "local"]
Event = Literal["start", "trial", "timeout", "preempted", "cancelled"]


class Submission(Spec):
    """Jobs that were submitted together, and the settings that they share.

    Attributes:
        cluster: Cluster that the jobs are for.
        profile: Name of the profile.
        sweep: Name of the sweep.
        results: Folder of all results, absolute.
        device: Torch device of all trials.
        threads: Number of cores of each process.
        memory_gb: Memory that a fit may take, GiB; None for what is free.
        micro_batch: Number of training images of a process in one forward pass; None for its share of a whole batch.
        time_limit: Time limit of a job, minutes; None for none.
        signal_delay: Time before the limit at which a job is told, seconds.
        commit: Commit of the code that submitted.
        dirty: Whether that code differed from its commit.
        versions: JSON of the versions of Python and packages.
        jobs: Trials of each job, in order.
        trial_ids: Their identities where they were submitted, which a job's must be too; none of older submissions.
        expected_top1: {model: dense top-1 that the user expects, percent}.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.
        keep_models: Whether the models that are measured in training with pruning are kept as files.
    """

    cluster: Cluster
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
    jobs: tuple[tuple[Trial, ...], ...]
    trial_ids: tuple[tuple[str, ...], ...] = ()
    expected_top1: dict[str, float] = Field(default_factory=dict)
    compute: Compute = "auto"
    keep_models: bool = True


class JobNote(Spec):
    """Note of an event in a job.

    Attributes:
        event: Start of the job, begin of a trial, or end by a signal or by `capbench cancel`.
        at: Time, ISO 8601.
        host: Name of the machine.
        progress: Digest of what was on disk at a start.
        trial_id: Id of the trial that begins.
    """

    event: Event
    at: str
    host: str
    progress: str | None = None
    trial_id: str | None = None


class SubmissionFolder:
    """Folder of a submission: `submission.json`, the jobs' ids, their notes, pickles and logs.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def logs(self) -> Path:
        """Folder of the jobs' logs and pickles."""
        return self.path / "logs"

    def create(self, submission: Submission) -> None:
        """Writes what is to be submitted."""
        self.logs.mkdir(parents=True)
        _write(self.path / "submission.json", submission.model_dump_json())
        _write(self.path / "jobs.json", "{}")

    def submission(self) -> Submission:
        """Returns what was submitted.

        Raises:
            UserError: If it cannot be read, or if other code wrote it, which this code does not understand.
        """
        values = self._values()
        try:
            return Submission.model_validate(values)
        except (ValidationError, UserError) as error:
            mistake = first_mistake(error) if isinstance(error, ValidationError) else error
            raise UserError(
                f"{self.path} was submitted at commit {values.get('commit')}, and {ROOT}, at {provenance.commit()}, "
                f"cannot read it ({mistake}): check that commit out again, or capbench cancel the sweep and run it anew"
            ) from None

    @cached_property
    def cluster(self) -> Cluster:
        """Cluster that the jobs were submitted to; submissions of other code tell it too."""
        return self._values()["cluster"]

    def _values(self) -> dict[str, Any]:
        path = self.path / "submission.json"
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): remove {self.path} once its jobs have ended") from None

    def record(self, jobs: dict[str, list[str]]) -> None:
        """Adds jobs that were submitted: {job id: trial ids}."""
        _write(self.path / "jobs.json", json.dumps({**self.jobs(), **jobs}, indent=1))

    def jobs(self) -> dict[str, list[str]]:
        """Returns the jobs that were submitted: {job id: trial ids, in order}."""
        return json.loads((self.path / "jobs.json").read_text())

    def log(self, job: str) -> Path:
        """Returns the path of a job's error log."""
        return self.logs / f"{job}_0_log.err"

    def cause(self, job: str) -> str:
        """Returns the last line that a job wrote to its logs, which tells why it ended; empty if it wrote none."""
        for path in (self.log(job), self.logs / f"{job}_0_log.out"):
            with contextlib.suppress(OSError):
                if lines := [line for line in path.read_text(errors="replace").splitlines() if line.strip()]:
                    return _message(lines)[:LONGEST_CAUSE]
        return ""

    def note(self, job: str, event: Event, progress: str | None = None, trial_id: str | None = None) -> None:
        """Notes an event in a job."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        note = JobNote(event=event, at=now, host=provenance.host(), progress=progress, trial_id=trial_id)
        with self._notes(job).open("a") as file:
            file.write(note.model_dump_json(exclude_none=True) + "\n")

    def notes(self, job: str) -> list[JobNote]:
        """Returns the notes of a job, in order; a line that is cut off is none."""
        path = self._notes(job)
        if not path.exists():
            return []
        return [JobNote.model_validate_json(line) for line in path.read_text().splitlines() if line.endswith("}")]

    def _notes(self, job: str) -> Path:
        return self.logs / f"{job}_notes.jsonl"


def _message(lines: list[str]) -> str:
    """Returns the line of a log that says what went wrong: SLURM adds its own below, submitit before each."""
    told = [line for line in lines if not line.startswith(("srun: ", "slurmstepd: ", "submitit "))]
    return " ".join((told or lines)[-1].split())


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def folders(store: Store) -> list[SubmissionFolder]:
    """Returns the folders of all submissions of a sweep, the oldest first."""
    return [SubmissionFolder(path.parent) for path in sorted(store.folder.glob("jobs/*/jobs.json"))]


def every_folder(results: Path) -> list[SubmissionFolder]:
    """Returns the folders of all submissions of all sweeps in a folder of results, the oldest of each sweep first."""
    return [SubmissionFolder(path.parent) for path in sorted(results.glob("*/*/jobs/*/jobs.json"))]


def new_folder(store: Store) -> SubmissionFolder:
    """Returns the folder of the next submission; names sort by time."""
    return SubmissionFolder(store.folder / "jobs" / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}")
