"""SLURM's commands: limits of the site, states of jobs, cancellation."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.core.errors import UserError

TIMEOUT = 60  # seconds for one command
DEFAULT_ARRAY = 1000  # tasks in an array where the site does not say
_AT_ONCE = 200  # job ids on one command line

# on their nodes; all other states of a job that is in the queue are those of one that waits
RUNNING = frozenset({"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"})


@dataclass(frozen=True)
class JobState:
    """State of a job.

    Attributes:
        state: Name of the state in SLURM, such as PENDING, RUNNING, NODE_FAIL; UNKNOWN if it knows the job no more.
        nodes: Nodes that it runs or ran on.
        reason: Reason why it waits.
        active: Whether SLURM has it in its queue.
    """

    state: str
    nodes: str = ""
    reason: str = ""
    active: bool = False

    @property
    def is_running(self) -> bool:
        """Whether it is on its nodes."""
        return self.active and self.state in RUNNING


class SlurmError(UserError):
    """A command of SLURM is missing, or SLURM does not answer."""


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError:
        raise SlurmError(f"there is no {command[0]} here: run this on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"SLURM does not answer: {command[0]} took more than {TIMEOUT} s") from None
    if done.returncode:
        raise SlurmError(f"SLURM does not answer: {' '.join(done.stderr.split()) or command[0] + ' failed'}")
    return done.stdout


def _expanded(job: str) -> Iterator[str]:
    """Yields the ids that SLURM writes as one: `12_[0-3,7%2]` for array tasks that wait, else the id itself."""
    found = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", job)
    if found is None:
        yield job
        return
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        yield from (f"{found[1]}_{task}" for task in range(int(first), int(last or first) + 1))


def queue() -> dict[str, JobState]:
    """Returns this user's jobs that wait or run: {job id, with `_task` in an array: state}.

    Raises:
        SlurmError: If SLURM does not answer.
    """
    lines = _ask("squeue", "--noheader", "--array", "--me", "--format", "%i|%T|%N|%r")
    found = {}
    for line in lines.splitlines():
        job, state, nodes, reason = line.split("|", 3)
        found[job] = JobState(state, nodes, reason, active=True)
    return found


def finished(jobs: Iterable[str]) -> dict[str, JobState]:
    """Returns how jobs ended, by SLURM's accounting; those that it does not know are left out.

    Raises:
        SlurmError: If the site keeps no accounts, or they do not answer.
    """
    arrays = sorted({job.partition("_")[0] for job in jobs})
    found: dict[str, JobState] = {}
    for start in range(0, len(arrays), _AT_ONCE):
        lines = _ask(
            "sacct", "--noheader", "--parsable2", "--allocations", "--format", "JobID,State,NodeList",
            "--jobs", ",".join(arrays[start : start + _AT_ONCE]),
        )  # fmt: skip
        for line in lines.splitlines():
            job, state, nodes = line.split("|")
            found |= {task: JobState(state.split()[0], nodes) for task in _expanded(job)}  # "CANCELLED by 0"
    return found


def states(jobs: Iterable[str]) -> dict[str, JobState]:
    """Returns the state of each job: what is in the queue first, since accounts lag and call a requeued job ended.

    Raises:
        SlurmError: If the queue does not answer.
    """
    jobs = list(jobs)
    queued = queue() if jobs else {}
    gone = [job for job in jobs if job not in queued]
    try:
        ended = finished(gone) if gone else {}
    except SlurmError:  # no accounts at this site
        ended = {}
    return {job: queued.get(job) or ended.get(job) or JobState("UNKNOWN") for job in jobs}


def cancel(jobs: Iterable[str]) -> None:
    """Cancels jobs.

    Raises:
        SlurmError: If SLURM does not answer.
    """
    jobs = list(jobs)
    for start in range(0, len(jobs), _AT_ONCE):
        _ask("scancel", *jobs[start : start + _AT_ONCE])


@dataclass(frozen=True)
class Limits:
    """Limits of a site.

    Attributes:
        array_size: Largest number of tasks in one array.
        submitted: Largest number of jobs of this user in the queue, array tasks counted one by one; None for no limit.
    """

    array_size: int
    submitted: int | None


def limits() -> Limits:
    """Reads the site's limits from its configuration and this user's association.

    Raises:
        SlurmError: If the controller does not answer.
    """
    config = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _ask("scontrol", "show", "config"), re.MULTILINE))
    size = config.get("MaxArraySize", "")
    try:
        associations = _ask(
            "sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}",
            "format=MaxSubmitJobs,GrpSubmitJobs",
        )  # fmt: skip
    except SlurmError:  # no accounts, or not for this user to see
        associations = ""
    found = [int(number) for number in re.findall(r"\d+", associations)]
    if config.get("MaxJobCount", "").isdigit():
        found.append(int(config["MaxJobCount"]))
    return Limits(int(size) if size.isdigit() and int(size) > 0 else DEFAULT_ARRAY, min(found, default=None))
