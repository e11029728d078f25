"""`capbench plan`: what a sweep would take on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions
from bench.cli.options import Only, Profile, Results, Seeds


def plan(
    sweep: str,
    *,
    profile: Profile = "embedded",
    only: Only = (),
    seeds: Seeds = (),
    cluster: Literal["local", "slurm"] = "slurm",
    hardware: str | None = None,
    results: Results = Path("runs"),
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster")] = None,
) -> None:
    """Show what a sweep would take on a cluster: jobs, hours, memory, storage. Nothing is submitted.

    Args:
        cluster: Where it would run.
        hardware: What one process computes on: cpu (two cores), a100, a100-40gb, h100, h200, v100, t4, a10, l40s,
            rtx4090; by default a100 for jobs with GPUs.
    """
    config = (site or ClusterOptions()).config()
    selection = bench.select_trials(sweep, profile, only, seeds, results)
    lines = bench.plan_sweep(selection, config, hardware)
    print(f"{selection.title} on {cluster}")
    for line in lines:
        print(line)
