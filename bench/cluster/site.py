"""What a site's jobs ask for: from `cluster.toml`, and from the command line above it."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field, ValidationError, field_validator

from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "cluster.toml"


def minutes(time: str | int) -> int:
    """Reads a time limit as SLURM does: minutes, [hours:]minutes:seconds, days-hours[:minutes[:seconds]].

    Returns:
        Whole minutes, rounded up, as submitit and SLURM count them.

    Raises:
        ValueError: If it is none of these.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(time))
    if found is None:
        raise ValueError(f"{time} is no time: write minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    days, *rest = (int(part) if part is not None else None for part in found.groups())
    parts = [part for part in rest if part is not None]
    if days is not None:
        hours, minute, second = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minute, second = parts
    else:
        hours, minute, second = 0, *[*parts, 0][:2]
    total = math.ceil((((days or 0) * 24 + hours) * 60 + minute) + second / 60)
    if total < 1:
        raise ValueError("a time limit must be at least one minute")
    return total


class ClusterConfig(Spec):
    """What each job asks for.

    Attributes:
        partition: SLURM's partition; `account`, `qos`, `constraint`, `nodelist` and `exclude` likewise.
        nodes: Nodes of a job.
        gpus_per_node: GPUs on each.
        tasks_per_node: Processes on each, which train one model together; by default one for each GPU.
        cpus_per_task: Cores of a process.
        mem_gb: Memory of a node for the job, GB.
        time: Time limit, minutes.
        signal_delay: Seconds before the limit at which a job is told to leave; it is then requeued and goes on.
        max_parallel: Jobs that run at once; None for as many as the site gives.
        setup: Shell commands before Python starts, such as `module load`.
        python: The Python that runs the jobs; by default this one.
        extra: Any other options of sbatch, {name: value}, True for one without a value.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    nodes: int = Field(1, ge=1)
    gpus_per_node: int = Field(0, ge=0)
    tasks_per_node: int | None = Field(None, ge=1)
    cpus_per_task: int = Field(1, ge=1)
    mem_gb: float | None = Field(None, gt=0)
    time: int | None = None
    signal_delay: int = Field(120, ge=1)
    max_parallel: int | None = Field(None, ge=1)
    setup: tuple[str, ...] = ()
    python: str | None = None
    extra: dict[str, str | int | bool] = Field(default_factory=dict)

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, time: Any) -> int | None:
        return minutes(time) if time is not None else None

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        return self.tasks_per_node or max(1, self.gpus_per_node)


@dataclass
class ClusterOptions:
    """What the command line says of the site; what it leaves out is read from the file.

    Attributes:
        cluster_file: Site defaults, a TOML file with these same names; by default ./cluster.toml, else
            ~/.config/capbench/cluster.toml, if there is one.
        partition: Of SLURM.
        account: Of SLURM.
        qos: Of SLURM.
        constraint: Features that the nodes must have.
        nodes: Nodes of a job.
        gpus_per_node: GPUs of a job on each node.
        tasks_per_node: Processes of a job on each node, which train one model together; by default one for each GPU.
        cpus_per_task: Cores of each process.
        mem_gb: Memory of a job on each node, GB.
        time: Time limit of a job: minutes, hours:minutes:seconds, days-hours. A job that reaches it is requeued.
        signal_delay: Seconds before the limit at which a job is told to leave.
        max_parallel: Jobs that run at once.
        setup: A shell command to run before Python starts; may be given several times.
    """

    cluster_file: Path | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    time: str | None = None
    signal_delay: int | None = None
    max_parallel: int | None = None
    setup: Annotated[tuple[str, ...], Parameter(negative="")] = ()

    def site(self) -> ClusterConfig:
        """Returns the site's settings.

        Raises:
            UserError: If the file is missing or cannot be read, or a value is not valid.
        """
        given = {key: value for key, value in asdict(self).items() if key != "cluster_file" and value not in (None, ())}
        try:
            return ClusterConfig.model_validate({**self._from_file(), **given})
        except ValidationError as error:
            raise UserError(f"cluster settings: {first_mistake(error)}") from None

    def _from_file(self) -> dict[str, Any]:
        if self.cluster_file is not None and not self.cluster_file.is_file():
            raise UserError(f"--cluster-file {self.cluster_file} does not exist")
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        places = (self.cluster_file, Path(FILE), home / "capbench" / FILE)
        path = next((place for place in places if place is not None and place.is_file()), None)
        if path is None:
            return {}
        try:
            values = tomllib.loads(path.read_text())
            ClusterConfig.model_validate(values)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path} is no TOML: {error}") from None
        except ValidationError as error:
            raise UserError(
                f"{path}: {first_mistake(error)}; valid names are {', '.join(ClusterConfig.model_fields)}"
            ) from None
        return values
