"""Submitted jobs of a sweep, with their states, and their cancellation."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.cluster import slurm
from bench.cluster.slurm import JobState
from bench.cluster.submission import SubmissionFolder, every_folder, folders
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


@dataclass(frozen=True)
class Cancelled:
    """Jobs that were cancelled.

    Attributes:
        jobs: Number of the jobs.
        others: Number of their trials that were not asked for: they share a job with one that was.
    """

    jobs: int
    others: int = 0


def cancel(store: Store, trial_ids: Collection[str] | None = None) -> Cancelled:
    """Cancels the jobs of a sweep that wait or run.

    Args:
        store: Results of the sweep.
        trial_ids: Identities of the trials whose jobs are cancelled, as far as they are not finished; None for all.

    Raises:
        SlurmError: If SLURM does not answer.
    """
    active, others = [], 0
    for job in all_jobs(store):
        left = {trial_id for trial_id in job.trial_ids if not store.is_finished(trial_id)}
        if job.state.active and (trial_ids is None or left & set(trial_ids)):
            active.append(job)
            others += len(left - set(trial_ids)) if trial_ids is not None else 0
    slurm.cancel(job.id for job in active if job.folder.cluster == "slurm")
    for job in active:
        if job.folder.cluster == "local" and (process := _local_process(job.folder, job.id)) is not None:
            job.folder.note(job.id, "cancelled")
            _end(process)
    return Cancelled(len(active), others)


def active_arrays(results: Path) -> list[str]:
    """Returns the arrays and single jobs of all sweeps in a folder of results that SLURM has in its queue, in order.

    Raises:
        SlurmError: If SLURM does not answer.
    """
    queued = slurm.queue()
    known = {job for folder in every_folder(results) if folder.cluster == "slurm" for job in folder.jobs()}
    return sorted({job.partition("_")[0] for job in queued if job in known}, key=int)


def active_local_jobs(results: Path) -> int:
    """Returns how many local jobs of all sweeps in a folder of results run."""
    folders = (folder for folder in every_folder(results) if folder.cluster == "local")
    return sum(_local_process(folder, job) is not None for folder in folders for job in folder.jobs())


def _local_state(folder: SubmissionFolder, job: str) -> JobState:
    if _local_process(folder, job) is not None:
        return JobState("RUNNING", provenance.host(), active=True)
    if any(note.event == "cancelled" for note in folder.notes(job)):
        return JobState("CANCELLED", provenance.host())
    return JobState("COMPLETED" if _succeeded(folder.logs / f"{job}_0_result.pkl") else "FAILED", provenance.host())


def _succeeded(result: Path) -> bool:
    """Returns whether a local job left a result that is no error."""
    try:
        outcome, _ = pickle.loads(result.read_bytes())
    except Exception:  # noqa: BLE001  a file that is missing or was cut off; of other code
        return False
    return outcome == "success"


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
