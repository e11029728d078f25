"""Submission of jobs through submitit, to SLURM or to this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from bench.cluster import slurm
from bench.cluster.config import ClusterConfig
from bench.cluster.job import GroupJob
from bench.cluster.submission import SubmissionFolder
from bench.core.errors import UserError
from bench.specs.trial import Trial

FOREVER = 10**6  # requeues that submitit may count; when to give up is for the job to say
A_YEAR = 60 * 24 * 365  # minutes

Jobs = Sequence[Sequence[Trial]]  # trials of each job, in order


class FullError(UserError):
    """The site takes no more jobs of this user at present."""


@dataclass(frozen=True)
class Submitter:
    """Submission of the jobs of one folder.

    Attributes:
        folder: Folder of the submission; it has the jobs' trials.
        config: Settings of each job.
        name: Name of the jobs.
    """

    folder: SubmissionFolder
    config: ClusterConfig
    name: str

    def to_local(self, jobs: Jobs) -> list[str]:
        """Starts jobs on this machine, all at once and each on GPUs of its own, and returns their ids.

        Raises:
            UserError: If one cannot be started; those that were started before are recorded, and run.
        """
        submitted: list[str] = []
        for lane in range(len(jobs)):
            submitted += self._submit(self._local_executor(lane), jobs, slice(lane, lane + 1))
        return submitted

    def to_slurm(self, jobs: Jobs, array_size: int, before: Sequence[str] = ()) -> list[str]:
        """Submits jobs to SLURM, as arrays as large as the site takes them, and returns their ids.

        Args:
            jobs: Trials of each job.
            array_size: Largest number of jobs in an array.
            before: Arrays that wait or run already, which the first of these follows if `max_parallel` is given.

        Raises:
            UserError: If SLURM does not answer or refuses; jobs that it took before are recorded, and run.
        """
        submitted: list[str] = []
        for start in range(0, len(jobs), array_size):
            # the next array begins when the last has ended, or more than max_parallel would run at once
            last = [submitted[-1].partition("_")[0]] if submitted else before
            after = ":".join(last) if self.config.max_parallel and last else None
            submitted += self._submit(self._slurm_executor(after), jobs, slice(start, start + array_size))
        return submitted

    def _submit(self, executor: submitit.AutoExecutor, jobs: Jobs, part: slice) -> list[str]:
        indices = range(len(jobs))[part]
        try:
            with _detached(), executor.batch():
                handles = [executor.submit(GroupJob(self.folder.path, index)) for index in indices]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            before = f" ({part.start} of {len(jobs)} jobs were submitted before)" if part.start else ""
            raise UserError(f"the cluster refused: {' '.join(str(error).split())}{before}") from None
        ids = [handle.job_id for handle in handles]
        self.folder.record({job: [trial.id for trial in jobs[i]] for job, i in zip(ids, indices, strict=True)})
        return ids

    def _local_executor(self, lane: int) -> submitit.AutoExecutor:
        """Returns what starts one local job, on GPUs of its own."""
        config = self.config
        python = {"local_python": config.python} if config.python else {}
        executor = submitit.AutoExecutor(self.folder.logs, cluster="local", local_max_num_timeout=FOREVER, **python)
        first = lane * config.gpus_per_node
        gpus = ",".join(map(str, range(first, first + config.gpus_per_node)))
        executor.update_parameters(
            **self._common_parameters(),
            timeout_min=config.time or A_YEAR,
            local_setup=setup_lines(
                config,
                f'>> {shlex.quote(str(self.folder.logs))}/"$$"_0_log.err',
                {"CUDA_VISIBLE_DEVICES": gpus} if gpus else {},
            ),
        )
        return executor

    def _slurm_executor(self, after: str | None) -> submitit.AutoExecutor:
        """Returns what submits one array, which begins once the arrays `after` have ended."""
        config = self.config
        # a signal before submitit handles it would end the job, and a preempted one that ends is not requeued
        python = f'sh -c \'trap "" USR2; exec "$0" "$@"\' {config.python or shlex.quote(sys.executable)}'
        executor = submitit.AutoExecutor(
            self.folder.logs, cluster="slurm", slurm_max_num_timeout=FOREVER, slurm_python=python
        )
        optional = {
            "mem_gb": config.mem_gb,
            "slurm_partition": config.partition,
            "slurm_account": config.account,
            "slurm_qos": config.qos,
            "slurm_constraint": config.constraint,
            "slurm_nodelist": config.nodelist,
            "slurm_exclude": config.exclude,
            "slurm_array_parallelism": config.max_parallel,
            "slurm_dependency": f"afterany:{after}" if after else None,
        }
        executor.update_parameters(
            **self._common_parameters(),
            timeout_min=config.time,
            cpus_per_task=config.cpus_per_task,
            slurm_setup=setup_lines(config),
            slurm_signal_delay_s=config.signal_delay,
            slurm_additional_parameters={"requeue": True, **config.extra},
            **{key: value for key, value in optional.items() if value is not None},
        )
        return executor

    def _common_parameters(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "nodes": self.config.nodes,
            "tasks_per_node": self.config.tasks,
            "gpus_per_node": self.config.gpus_per_node,
        }


def setup_lines(config: ClusterConfig, log: str = ">&2", others: Mapping[str, str] | None = None) -> list[str]:
    """Returns the commands of a job before Python starts; where one of the user's fails, the job ends and says so.

    Args:
        config: Settings of the job.
        log: Redirection of the shell to where it is said.
        others: Variables to set beside the user's, {name: value}.
    """
    variables = {**config.environment(), **(others or {})}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [
        *exports,
        *(_checked(line, log) for line in config.setup if line.strip() and not line.lstrip().startswith("#")),
    ]


def _checked(line: str, log: str) -> str:
    """Returns a command that ends the shell where it fails."""
    message = shlex.quote(f"capbench: this line of setup failed: {line}")
    return f"{{\n{line}\n}} || {{ echo {message} {log}; exit 1; }}"


def room() -> tuple[int, int]:
    """Returns how many jobs fit into an array, and how many SLURM takes of this user at present.

    Raises:
        SlurmError: If SLURM does not answer.
        FullError: If it takes none.
    """
    limits = slurm.limits()
    if limits.submitted is None:
        return limits.array_size, 10**9
    free = limits.submitted - len(slurm.queue())
    if free < 1:
        raise FullError(
            f"the site takes {limits.submitted} jobs of a user at a time, and as many wait: try again later"
        )
    return min(limits.array_size, free), free


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
