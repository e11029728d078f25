"""Executor of trials as jobs of a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cluster.config import ClusterConfig
from bench.cluster.plan import pack_jobs
from bench.cluster.rates import assumed_rates
from bench.cluster.status import SweepStatus, TrialStatus
from bench.cluster.submission import Cluster, Submission, new_folder
from bench.cluster.submit import FullError, Jobs, Submitter, room
from bench.cluster.submitted import active_arrays, active_local_jobs, busy
from bench.core import files, provenance
from bench.core.errors import UserError
from bench.execution.executor import FinishedTrial
from bench.results.store import FINISHED, Store
from bench.specs.trial import Trial
from cap.training.accelerator import Compute

UNFINISHED = ("failed", "timeout", "cancelled")  # ends of a trial without a result


@dataclass(frozen=True)
class ClusterExecutor:
    """An executor that runs trials as jobs of a cluster, which outlive this process.

    Attributes:
        store: Results of the trials' sweep.
        config: Settings of each job.
        cluster: Cluster to submit to; `local` starts `max_parallel` (by default one) processes here.
        device: Torch device of all trials.
        memory_gb: Memory that a fit may take, GiB; None for what is free.
        micro_batch: Number of training images of a process in one forward pass; None for its share of a whole batch.
        poll_seconds: Time between two looks at the jobs, seconds.
        lost_after_seconds: Time after which an end without a result is believed, seconds: accounts lag.
        allow_dirty: Whether `run` submits though the checkout differs from its commit.
        expected_top1: {model: dense top-1 that the user expects, percent}.
        compute: How training computes, see `cap.training.accelerator.Accelerator.mode`.
        keep_models: Whether the models that are measured in training with pruning are kept as files.
    """

    store: Store
    config: ClusterConfig
    cluster: Cluster
    device: str = "cpu"
    memory_gb: float | None = None
    micro_batch: int | None = None
    poll_seconds: float = 10.0
    lost_after_seconds: float = 60.0
    allow_dirty: bool = False
    expected_top1: Mapping[str, float] = field(default_factory=dict)
    compute: Compute = "auto"
    keep_models: bool = True

    @property
    def _results(self) -> Path:
        """Folder of the results of all sweeps."""
        return self.store.folder.parents[1]

    def jobs(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        """Returns the jobs that trials would be submitted as: for each job its trials, in order."""
        return pack_jobs(trials, self.config, assumed_rates(self.device))

    def submit(self, trials: Sequence[Trial]) -> list[str]:
        """Submits trials, and does not wait for them; `exclusive` keeps others from submitting the same ones.

        Returns:
            Ids of the jobs, fewer than there are `jobs` if the site takes no more at present.

        Raises:
            UserError: If the settings do not fit the cluster, or SLURM does not answer or refuses; jobs that it took
                before are recorded, and run.
        """
        self._check_config()
        self._check_sweep(trials)
        jobs = self.jobs(trials)
        if self.cluster == "local":
            jobs = self._lanes(jobs)
            return self._submitter(jobs).to_local(jobs)
        array_size, free = room()
        jobs = jobs[:free]
        before = active_arrays(self._results) if self.config.max_parallel else []
        return self._submitter(jobs).to_slurm(jobs, array_size, before)

    def run(self, trials: Sequence[Trial]) -> Generator[FinishedTrial]:
        """Submits the trials that are in no job yet, and yields each trial as it ends.

        Jobs that the site does not take at first are submitted as soon as it does. Closing the generator ends no job.

        Raises:
            UserError: If the cluster refuses, or does not answer.
        """
        check_code(self.allow_dirty)
        todo = {trial.id: trial for trial in trials}
        submitted: set[str] = set()
        ended: dict[str, tuple[TrialStatus, float]] = {}  # an end without a result, and when it was first seen
        while todo:
            if waiting := [trial for trial in todo.values() if trial.id not in submitted]:
                with contextlib.suppress(FullError):
                    submitted |= self._submit_missing(waiting)
            status = SweepStatus(self.store)
            found = {trial_id: status.status(trial) for trial_id, trial in todo.items()}
            for trial_id, now in found.items():
                # files and accounts may lag behind the queue: an end without a result is looked at for a while
                if not now.is_settled or ended.get(trial_id, (None, 0.0))[0] != now:
                    ended[trial_id] = now, time.monotonic()
                is_lost = now.is_settled and time.monotonic() - ended[trial_id][1] >= self.lost_after_seconds
                if now.state in FINISHED or (is_lost and trial_id in submitted):
                    yield _finished(todo.pop(trial_id), now)
            if todo:
                time.sleep(self.poll_seconds)

    def _submit_missing(self, trials: Sequence[Trial]) -> set[str]:
        """Submits what is neither finished nor in a job, and returns the ids of all that are finished or in a job."""
        with exclusive(self.store, wait=True):
            in_jobs = busy(self.store)
            missing = [t for t in trials if t.id not in in_jobs and not self.store.is_finished(t.id)]
            jobs = self.jobs(missing)
            submitted = self.submit(missing) if missing else []
        not_taken = jobs[len(submitted) :] if self.cluster == "slurm" else []
        return {trial.id for trial in trials} - {trial.id for job in not_taken for trial in job}

    def _submitter(self, jobs: Jobs) -> Submitter:
        """Writes the folder of a submission, and returns what submits its jobs."""
        store, config = self.store, self.config
        folder = new_folder(store)
        folder.create(
            Submission(
                cluster=self.cluster,
                profile=store.profile,
                sweep=store.sweep,
                results=self._results.absolute(),
                device=self.device,
                threads=config.cpus_per_task,
                memory_gb=self.memory_gb,
                micro_batch=self.micro_batch,
                time_limit=config.time,
                signal_delay=config.signal_delay,
                commit=provenance.commit(),
                dirty=provenance.dirty(),
                versions=provenance.versions(),
                jobs=tuple(map(tuple, jobs)),
                expected_top1=dict(self.expected_top1),
                compute=self.compute,
                keep_models=self.keep_models,
                trial_ids=tuple(tuple(trial.id for trial in job) for job in jobs),
            )
        )
        return Submitter(folder, config, f"capbench-{store.sweep}-{store.folder.parent.name}")

    def _lanes(self, jobs: Jobs) -> list[list[Trial]]:
        """Returns as many jobs as may run at once on this machine."""
        most = self.config.max_parallel
        running = active_local_jobs(self._results) if most is not None else 0
        if running and running >= (most or 1):
            raise UserError(
                f"{running} local jobs of {self._results} run already, and max_parallel is {most}: wait, or give more"
            )
        lanes = min((most or 1) - running, len(jobs))
        return [[trial for job in jobs[lane::lanes] for trial in job] for lane in range(lanes)]

    def _check_sweep(self, trials: Sequence[Trial]) -> None:
        """Refuses trials of another sweep than the one whose results the executor has."""
        for trial in trials:
            if (trial.profile, trial.sweep) != (self.store.profile, self.store.sweep):
                raise UserError(
                    f"a trial of {trial.sweep} ({trial.profile}) cannot be submitted as one of {self.store.sweep} "
                    f"({self.store.profile}): make an executor for each sweep"
                )

    def _check_config(self) -> None:
        config = self.config
        if self.cluster == "local" and config.nodes > 1:
            raise UserError(f"--cluster local has one node, not {config.nodes}")
        if self.cluster == "slurm" and config.time is None:
            raise UserError("SLURM needs a time limit: give it with --time, or as time in cluster.toml")
        if config.time is not None and config.signal_delay >= 60 * config.time:
            raise UserError(
                f"a signal {config.signal_delay} s before the limit leaves nothing of {config.time} minutes: give "
                "more --time, or less --signal-delay"
            )


def _finished(trial: Trial, status: TrialStatus) -> FinishedTrial:
    if status.state in FINISHED:
        return FinishedTrial(trial, status.state)
    return FinishedTrial(trial, status.state if status.state in UNFINISHED else "failed", status.detail)


@contextlib.contextmanager
def exclusive(store: Store, wait: bool = False) -> Iterator[None]:
    """Keeps any other process from submitting trials of the same sweep meanwhile.

    Args:
        store: Results of the sweep.
        wait: Whether to wait for another process that submits.

    Raises:
        UserError: If another process submits and is not waited for.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.lock(store.folder / "jobs" / "lock", wait))
        except BlockingIOError:
            raise UserError(f"another capbench run is submitting {store.sweep} ({store.profile}): try again") from None
        yield


def check_code(allow_dirty: bool) -> None:
    """Refuses to submit code that no commit tells of.

    Raises:
        UserError: If tracked files differ from the commit.
    """
    if provenance.dirty() and not allow_dirty:
        raise UserError(
            "the checkout differs from its commit, so nobody could tell what the results are of: commit the changes, "
            "or give --allow-dirty"
        )
