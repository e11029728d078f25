"""Submits trials to a cluster through submitit, and cancels them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from bench.cluster import slurm
from bench.cluster.job import Folder, GroupJob, Submission, constraints, folders, new_folder
from bench.cluster.site import ClusterConfig
from bench.cluster.slurm import JobState, Limits
from bench.core import provenance
from bench.core.errors import UserError
from bench.results.store import Store
from bench.specs.trial import Trial

Cluster = Literal["slurm", "local"]
FOREVER = 10**6  # requeues that submitit may count; when to give up is for the job to say
A_YEAR = 60 * 24 * 365  # minutes


@dataclass(frozen=True)
class Job:
    """A job that was submitted.

    Attributes:
        folder: Its submission.
        id: Of SLURM, with `_task` in an array; of a local job the number of the process that watches over it.
        trial_ids: What it runs, in order.
        state: What the cluster says of it.
    """

    folder: Folder
    id: str
    trial_ids: tuple[str, ...]
    state: JobState


def all_jobs(store: Store) -> list[Job]:
    """Returns all jobs of a sweep, the oldest submission first.

    Raises:
        SlurmError: If one of them went to SLURM, which does not answer.
    """
    submitted = [
        (folder, job, tuple(trial_ids)) for folder in folders(store) for job, trial_ids in folder.jobs().items()
    ]
    known = slurm.states(job for folder, job, _ in submitted if folder.cluster == "slurm")
    return [
        Job(folder, job, trial_ids, known[job] if folder.cluster == "slurm" else _local_state(folder, job))
        for folder, job, trial_ids in submitted
    ]


def busy(store: Store) -> set[str]:
    """Returns the trials of a sweep that are in a job that waits or runs, but for those that it has given up.

    Raises:
        SlurmError: If SLURM does not answer: without it nobody knows what waits there.
    """
    active = [job for job in all_jobs(store) if job.state.active]
    return {trial_id for job in active for trial_id in job.trial_ids if not store.given_up(trial_id, job.id)}


def _local_process(folder: Folder, job: str) -> psutil.Process | None:
    """Returns the process that watches over a local job, or None if it has ended and another may have its number."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(int(job))
        running = process.status() != psutil.STATUS_ZOMBIE
        if running and str(folder.logs) in process.environ().get("SUBMITIT_LOCAL_COMMAND", ""):
            return process
    return None


def _local_state(folder: Folder, job: str) -> JobState:
    if _local_process(folder, job) is not None:
        return JobState("RUNNING", provenance.host(), active=True)
    if any(note["event"] == "cancelled" for note in folder.notes(job)):
        return JobState("CANCELLED", provenance.host())
    done = (folder.logs / f"{job}_0_result.pkl").exists()
    return JobState("COMPLETED" if done else "FAILED", provenance.host())


@contextlib.contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """Keeps any other process from submitting trials of the same sweep meanwhile.

    Raises:
        UserError: If one is at it.
    """
    folder = store.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another capbench run is submitting {store.sweep} ({store.profile}): try again") from None
        except OSError:  # a file system without locks
            pass
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


def submit(
    jobs: Sequence[Sequence[Trial]],
    store: Store,
    site: ClusterConfig,
    cluster: Cluster,
    device: str,
    memory_gb: float | None,
    micro_batch: int | None,
) -> list[str]:
    """Submits jobs, as arrays as large as the site takes them.

    Args:
        jobs: For each job its trials, all of one sweep.
        store: Where their results go.
        site: What a job asks for.
        cluster: Where to; `local` starts `max_parallel` (by default one) processes here.
        device: The torch device of all trials.
        memory_gb: GiB that a fit may take, None for what is free.
        micro_batch: Training images that a process has in one forward pass, None for its share of a whole batch.

    Returns:
        The ids of the jobs, fewer than there are jobs if the site takes no more at present.

    Raises:
        UserError: If SLURM does not answer or refuses; jobs that it took before are recorded, and run.
    """
    _check_site(site, cluster)
    if cluster == "local":
        lanes = min(site.max_parallel or 1, len(jobs))
        jobs = [[trial for job in jobs[lane::lanes] for trial in job] for lane in range(lanes)]
        chunk = 1
    else:
        chunk, allowed = _room(slurm.limits())
        jobs = jobs[:allowed]
    folder = new_folder(store)
    folder.create(
        Submission(
            cluster=cluster, profile=store.profile, sweep=store.sweep, results=store.folder.parents[1].absolute(),
            device=device, threads=site.cpus_per_task, memory_gb=memory_gb, micro_batch=micro_batch,
            time_limit=site.time, signal_delay=site.signal_delay, commit=provenance.commit(), dirty=provenance.dirty(),
            versions=provenance.versions(), constraints=constraints(), jobs=tuple(map(tuple, jobs)),
        )
    )  # fmt: skip
    submitted: list[str] = []
    for start in range(0, len(jobs), chunk):
        part = [GroupJob(folder.path, index) for index in range(start, min(start + chunk, len(jobs)))]
        if cluster == "local":
            executor = _local_executor(folder, store, site, lane=start)
        else:  # the next array begins when the last has ended, or more than max_parallel would run at once
            after = submitted[-1].partition("_")[0] if site.max_parallel and submitted else None
            executor = _slurm_executor(folder, store, site, after)
        try:
            with _detached(), executor.batch():
                handles = [executor.submit(job) for job in part]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            known = f" ({len(submitted)} of {len(jobs)} jobs were submitted before)" if submitted else ""
            raise UserError(f"the cluster refused: {' '.join(str(error).split())}{known}") from None
        ids = [handle.job_id for handle in handles]
        folder.record({job: [trial.id for trial in jobs[start + i]] for i, job in enumerate(ids)})
        submitted += ids
    return submitted


def _check_site(site: ClusterConfig, cluster: Cluster) -> None:
    if cluster == "local" and site.nodes > 1:
        raise UserError(f"--cluster local has one node, not {site.nodes}")
    if cluster == "slurm" and site.time is None:
        raise UserError("SLURM needs a time limit: give it with --time, or as time in cluster.toml")
    if site.time is not None and site.signal_delay >= 60 * site.time:
        raise UserError(f"a signal {site.signal_delay} s before the limit leaves nothing of {site.time} minutes: give "
                        "more --time, or less --signal-delay")  # fmt: skip


@contextlib.contextmanager
def _detached() -> Iterator[None]:
    """Lets what is started here outlive the terminal: children inherit that its signals are ignored, and no streams."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    streams = {number: os.dup(number) for number in (0, 1, 2)}
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for number in streams:
            os.dup2(nothing, number)
        yield
    finally:
        for number, copy in streams.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(nothing)
        for signal_number, handler in handlers.items():
            signal.signal(signal_number, handler)


def _room(limits: Limits) -> tuple[int, int]:
    """Returns how many jobs fit into an array, and how many the site takes of this user at present."""
    if limits.submitted is None:
        return limits.array_size, 10**9
    free = limits.submitted - len(slurm.queue())
    if free < 1:
        raise UserError(
            f"the site takes {limits.submitted} jobs of a user at a time, and as many wait: try again later"
        )
    return min(limits.array_size, free), free


def _common(store: Store, site: ClusterConfig) -> dict[str, Any]:
    return {
        "name": f"capbench-{store.sweep}-{store.profile}",
        "nodes": site.nodes,
        "tasks_per_node": site.tasks,
        "gpus_per_node": site.gpus_per_node,
    }


def _local_executor(folder: Folder, store: Store, site: ClusterConfig, lane: int) -> submitit.AutoExecutor:
    """Returns what starts one local job, on GPUs of its own."""
    python = {"local_python": site.python} if site.python else {}
    executor = submitit.AutoExecutor(folder.logs, cluster="local", local_max_num_timeout=FOREVER, **python)
    first = lane * site.gpus_per_node
    gpus = ",".join(map(str, range(first, first + site.gpus_per_node)))
    executor.update_parameters(
        **_common(store, site),
        timeout_min=site.time or A_YEAR,
        local_setup=[*site.setup, *([f"export CUDA_VISIBLE_DEVICES={gpus}"] if gpus else [])],
    )
    return executor


def _slurm_executor(folder: Folder, store: Store, site: ClusterConfig, after: str | None) -> submitit.AutoExecutor:
    """Returns what submits one array, which begins once the array `after` has ended."""
    # a signal that comes before submitit handles it would end the job, and a preempted one that ends is not requeued
    python = f'sh -c \'trap "" USR2; exec "$0" "$@"\' {site.python or shlex.quote(sys.executable)}'
    executor = submitit.AutoExecutor(folder.logs, cluster="slurm", slurm_max_num_timeout=FOREVER, slurm_python=python)
    optional: dict[str, Any] = {
        "mem_gb": site.mem_gb,
        "slurm_partition": site.partition,
        "slurm_account": site.account,
        "slurm_qos": site.qos,
        "slurm_constraint": site.constraint,
        "slurm_nodelist": site.nodelist,
        "slurm_exclude": site.exclude,
        "slurm_array_parallelism": site.max_parallel,
        "slurm_dependency": f"afterany:{after}" if after else None,
    }
    executor.update_parameters(
        **_common(store, site),
        timeout_min=site.time,
        cpus_per_task=site.cpus_per_task,
        slurm_setup=list(site.setup),
        slurm_signal_delay_s=site.signal_delay,
        slurm_additional_parameters={"requeue": True, **site.extra},
        **{key: value for key, value in optional.items() if value is not None},
    )
    return executor


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


def _end(process: psutil.Process) -> None:
    """Ends a local job: the process that watches over it first, then those that work."""
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            member.kill()
