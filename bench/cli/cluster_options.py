"""Options of the command line for the jobs of a cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from bench.cluster.config import ClusterConfig


@dataclass
class ClusterOptions:
    """Settings of a cluster's jobs on the command line; what it leaves out is read from the file.

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

    def config(self) -> ClusterConfig:
        """Returns the settings, those of the file below those given here; what they say of places holds here, too.

        Raises:
            UserError: If the file is missing or cannot be read, or a value is not valid.
        """
        from bench.cluster.config import load_config

        given = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        config = load_config(given.pop("cluster_file", None), **given)
        config.apply_places()
        return config
