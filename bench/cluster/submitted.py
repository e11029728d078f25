"""Submitted jobs of a sweep, with their states, and their cancellation."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from bench.cluster import slurm
from bench.cluster.slurm import JobState
from bench.cluster.submission import SubmissionFolder, folders
from bench.core import provenance
from bench.results.store import Store


@dataclass(frozen=True)
class SubmittedJob:
    """A job that was submitted, and its state.

    Attributes:
        folder: Folder of its submission.
        id: Id in SLURM, with `_task` in an array; of a local job the number of the process that watches over it.
        trial_ids: Ids of its trials, in order.
        state: State on the cluster.
    """

    folder: SubmissionFolder
    id: str
    trial_ids: tuple[str, ...]
    state: JobState


def all_jobs(store: Store) -> list[SubmittedJob]:
    """Returns all jobs of a sweep, the oldest submission first.

    Raises:
        SlurmError: If one of them went to SLURM, which does not answer.
        UserError: If the folder of a submission cannot be read.
    """
    submitted = [
        (folder, job, tuple(trial_ids)) for folder in folders(store) for job, trial_ids in folder.jobs().items()
    ]
    known = slurm.states(job for folder, job, _ in submitted if folder.cluster == "slurm")
    return [
        SubmittedJob(folder, job, trial_ids, known[job] if folder.cluster == "slurm" else _local_state(folder, job))
        for folder, job, trial_ids in submitted
    ]


def busy(store: Store, jobs: Sequence[SubmittedJob] | None = None) -> set[str]:
    """Returns the trials of a sweep that are in a job that waits or runs, but for those that it has given up.

    Args:
        store: Results of the sweep.
        jobs: All its jobs; asked for by default.

    Raises:
        SlurmError: If SLURM does not answer: without it nobody knows what waits there.
    """
    active = [job for job in (all_jobs(store) if jobs is None else jobs) if job.state.active]
    return {trial_id for job in active for trial_id in job.trial_ids if not store.given_up(trial_id, job.id)}


def cancel(store: Store) -> int:
    """Cancels all jobs of a sweep that wait or run, and returns how many.

    Raises:
        SlurmError: If SLURM does not answer.
    """
    active = [job for job in all_jobs(store) if job.state.active]
    slurm.cancel(job.id for job in active if job.folder.cluster == "slurm")
    for job in active:
        if job.folder.cluster == "local" and (process := _local_process(job.folder, job.id)) is not None:
            job.folder.note(job.id, "cancelled")
            _end(process)
    return len(active)


def _local_state(folder: SubmissionFolder, job: str) -> JobState:
    if _local_process(folder, job) is not None:
        return JobState("RUNNING", provenance.host(), active=True)
    if any(note.event == "cancelled" for note in folder.notes(job)):
        return JobState("CANCELLED", provenance.host())
    done = (folder.logs / f"{job}_0_result.pkl").exists()
    return JobState("COMPLETED" if done else "FAILED", provenance.host())


def _local_process(folder: SubmissionFolder, job: str) -> psutil.Process | None:
    """Returns the process that watches over a local job, or None if it has ended and another may have its number."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(int(job))
        running = process.status() != psutil.STATUS_ZOMBIE
        if running and str(folder.logs) in process.environ().get("SUBMITIT_LOCAL_COMMAND", ""):
            return process
    return None


def _end(process: psutil.Process) -> None:
    """Ends a local job: the process that watches over it first, then those that work."""
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            member.kill()
