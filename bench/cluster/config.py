"""Settings of a site's jobs: from `cluster.toml`, and from the command line above it."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from bench.core.config import Spec
from bench.core.errors import UserError, first_mistake

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "cluster.toml"
PLACES = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE")  # beside all that begin with CAPBENCH_


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
    """Settings of each job.

    Attributes:
        partition: Partition of SLURM.
        account: Account of SLURM.
        qos: Quality of service of SLURM.
        constraint: Features that the nodes must have.
        nodelist: Nodes of which the job gets all.
        exclude: Nodes of which the job gets none.
        nodes: Number of nodes of a job.
        gpus_per_node: Number of GPUs of a job on each node.
        tasks_per_node: Number of processes on each node, which train one model together; by default one for each GPU.
        cpus_per_task: Number of cores of a process.
        mem_gb: Memory of a node for the job, GB.
        time: Time limit, minutes.
        signal_delay: Time before the limit at which a job is told to leave, seconds; it is then requeued and goes on.
        max_parallel: Number of jobs that run at once; None for as many as the site gives.
        setup: Shell commands before Python starts, such as `module load`; a job whose command fails ends there.
        env: Environment variables of the jobs, {name: value}; those of places hold for every command called here, too.
        python: Python that runs the jobs; by default this one.
        extra: Other options of sbatch, {name: value}, True for one without a value.
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
    env: dict[str, str] = Field(default_factory=dict)
    python: str | None = None
    extra: dict[str, str | int | bool] = Field(default_factory=dict)

    @field_validator("time", mode="before")
    @classmethod
    def _minutes(cls, time: Any) -> int | None:
        return minutes(time) if time is not None else None

    @property
    def tasks(self) -> int:
        """Number of processes on each node."""
        return self.tasks_per_node or max(1, self.gpus_per_node)

    def places(self) -> dict[str, str]:
        """Returns the variables that say where data, weights and caches lie, of `env` and plain exports in `setup`."""
        found: dict[str, str] = {}
        for line in self.setup:
            found |= _exports(line)
        return {name: value for name, value in {**found, **self.env}.items() if _is_place(name)}

    def apply_places(self) -> None:
        """Sets these variables where this process has none: it then looks in the same places as the jobs."""
        for name, value in self.places().items():
            os.environ.setdefault(name, value)

    def elsewhere(self) -> frozenset[str]:
        """Returns the variables whose places the nodes alone have: folders that are not here, or told by a command."""
        known = {**self.places(), **{name: os.environ[name] for name in self.places() if name in os.environ}}
        told = {name for line in self.setup for name in re.findall(r"\bexport\s+(\w+)=", line) if _is_place(name)}
        return frozenset((told - known.keys()) | {name for name, value in known.items() if not Path(value).exists()})

    def environment(self) -> dict[str, str]:
        """Returns the variables of `env` as jobs get them: of places those of this process, where it has them."""
        return {name: os.environ.get(name, value) if _is_place(name) else value for name, value in self.env.items()}


def _is_place(name: str) -> bool:
    return name.startswith("CAPBENCH_") or name in PLACES


def _exports(line: str) -> dict[str, str]:
    """Returns the variables that a command exports, where it says so in plain words: `export NAME=value`."""
    try:
        words = shlex.split(line)
    except ValueError:
        return {}
    if words[:1] != ["export"] or any(sign in line for sign in ("$", "`", ";", "&", "|")):
        return {}
    return {name: value for name, equals, value in (word.partition("=") for word in words[1:]) if equals}


def apply_places() -> None:
    """Sets the variables of places that the default file has: see `ClusterConfig.apply_places`.

    Raises:
        UserError: If the file cannot be read, or a value is not valid.
    """
    load_config().apply_places()


def load_config(file: Path | None = None, **settings: Any) -> ClusterConfig:
    """Reads what jobs ask for from a file, and puts single settings above it.

    Args:
        file: TOML file with the names of `ClusterConfig`; by default ./cluster.toml, else
            ~/.config/capbench/cluster.toml, if there is one.
        settings: Values that go above those of the file.

    Raises:
        UserError: If the file is missing or cannot be read, or a value is not valid.
    """
    if file is not None and not file.is_file():
        raise UserError(f"--cluster-file {file} does not exist")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = (file, Path(FILE), home / "capbench" / FILE)
    path = next((place for place in places if place is not None and place.is_file()), None)
    try:
        return ClusterConfig.model_validate({**(_read(path) if path is not None else {}), **settings})
    except ValidationError as error:
        raise UserError(f"cluster settings: {first_mistake(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
        ClusterConfig.model_validate(values)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        valid = ", ".join(ClusterConfig.model_fields)
        raise UserError(f"{path}: {first_mistake(error)}; valid names are {valid}") from None
    return values
