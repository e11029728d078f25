"""Status of every trial of a sweep, from the results and the cluster together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.submission import JobNote
from bench.cluster.submitted import SubmittedJob, all_jobs
from bench.results.store import DAMAGED, FINISHED, Store
from bench.specs.trial import Trial
from bench.trials.progress import read_progress

TO_RUN = "to run"
STATES = (*FINISHED, "running", "pending", "preempted", "failed", "timeout", "cancelled", DAMAGED, TO_RUN)
RETRIED = {"failed": ("failed", DAMAGED), "timeout": ("timeout",)}  # what `--retry` runs again
_ENDED = {"TIMEOUT": "timeout", "DEADLINE": "timeout", "CANCELLED": "cancelled", "PREEMPTED": "preempted"}


@dataclass(frozen=True)
class TrialStatus:
    """Status of a trial.

    Attributes:
        trial: The trial.
        state: One of STATES; `preempted` was interrupted and waits to go on.
        detail: Error, job and node, as far as there are any.
        log: File with more about it.
        label: Name of the trial where it is not its own: that of a part.
    """

    trial: Trial
    state: str
    detail: str = ""
    log: Path | None = None
    label: str | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing that runs or waits will change it."""
        return self.state not in ("running", "pending", "preempted")

    def line(self) -> str:
        """Returns the status in a line."""
        parts = [self.label or self.trial.label, self.detail, f"({self.log})" if self.log is not None else ""]
        return f"{self.trial.id}  {self.state:9}  {'  '.join(part for part in parts if part)}"


def summary(found: Iterable[TrialStatus]) -> str:
    """Returns how many trials are in which state."""
    counts = Counter(status.state for status in found)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


class SweepStatus:
    """Status of the trials of a sweep.

    Args:
        store: Results of the sweep.
        jobs: All its jobs, the oldest first; asked for by default.

    Raises:
        SlurmError: If some jobs went to SLURM, which does not answer.
    """

    def __init__(self, store: Store, jobs: Sequence[SubmittedJob] | None = None) -> None:
        self.store = store
        jobs = all_jobs(store) if jobs is None else jobs
        self._newest = {trial_id: job for job in jobs for trial_id in job.trial_ids}

    def status(self, trial: Trial) -> TrialStatus:
        """Returns the status of a trial."""
        status, job = self.store.status(trial.id), self._newest.get(trial.id)
        if status in FINISHED:
            return TrialStatus(trial, status)
        if job is not None and job.state.active and not self.store.given_up(trial.id, job.id):
            return self._active(trial, job)
        if status == DAMAGED:
            return TrialStatus(trial, DAMAGED, f"{self.store.path(trial.id)} cannot be read and will be made again")
        if status is not None:
            return self._recorded(trial, status)
        if self.store.is_locked(trial.id):
            return TrialStatus(trial, "running", self._progress(trial))
        return self._cut_off(trial, job) if job is not None else TrialStatus(trial, TO_RUN)

    def _active(self, trial: Trial, job: SubmittedJob) -> TrialStatus:
        notes = job.folder.notes(job.id)
        interrupted = sum(note.event in ("timeout", "preempted") for note in notes)
        again = f", interrupted {interrupted} times" if interrupted else ""
        if job.state.is_running:
            where = f"job {job.id} on {job.state.nodes}{again}"
            if _at(notes) != trial.id:
                return TrialStatus(trial, "pending", where)
            return TrialStatus(trial, "running", ", ".join(filter(None, [self._progress(trial), where])))
        reason = f" ({job.state.reason})" if job.state.reason not in ("", "None") else ""
        return TrialStatus(trial, "preempted" if interrupted else "pending", f"job {job.id}{reason}{again}")

    def _progress(self, trial: Trial) -> str:
        """Returns how far a running trial is; nothing where it has not told yet."""
        return str(read_progress(self.store.folder / trial.id) or "")

    def _recorded(self, trial: Trial, status: str) -> TrialStatus:
        failure, log = self.store.failure(trial.id), self.store.log(trial.id)
        where = f" on {failure.host}" + (f", job {failure.job}" if failure.job else "")
        return TrialStatus(trial, status, f"{failure.error}{where}", log if log.exists() else None)

    def _cut_off(self, trial: Trial, job: SubmittedJob) -> TrialStatus:
        """Returns the status of a trial whose job ended without its rows."""
        notes, ended = job.folder.notes(job.id), job.state.state
        where = f" on {job.state.nodes}" if job.state.nodes not in ("", "None assigned") else ""
        detail, state = f"job {job.id}: {ended}{where}", _ENDED.get(ended, "failed")
        never_began = ended == "UNKNOWN" and not notes
        if never_began or _at(notes) not in (None, trial.id):
            return TrialStatus(trial, "cancelled" if state == "cancelled" else TO_RUN, detail)
        log, cause = job.folder.log(job.id), job.folder.cause(job.id) if state == "failed" else ""
        return TrialStatus(trial, state, f"{cause}: {detail}" if cause else detail, log if log.exists() else None)


def _at(notes: Sequence[JobNote]) -> str | None:
    """Returns the trial that a job is at, or was at when it ended; None if it has not come to any."""
    return next((note.trial_id for note in reversed(notes) if note.event == "trial"), None)
