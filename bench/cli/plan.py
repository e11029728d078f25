"""`capbench plan`: what a sweep would take on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions
from bench.cli.options import Choice, Profile, Results, TrialOptions


def plan(
    sweep: str,
    *,
    profile: Profile = "embedded",
    chosen: Choice = None,
    cluster: Literal["local", "slurm"] = "slurm",
    hardware: str | None = None,
    measure: bool = False,
    budget: str | None = None,
    compute: Literal["auto", "compile", "plain"] = "auto",
    keep_models: bool = True,
    by: Literal["model", "pruner"] | None = None,
    results: Results = Path("runs"),
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster")] = None,
) -> None:
    """Show what a sweep would take on a cluster: jobs, hours, memory, storage. Nothing is submitted.

    Args:
        cluster: Where it would run.
        hardware: What one process computes on: cpu (two cores), a100, a100-40gb, h100, h200, v100, t4, a10, l40s,
            rtx4090, or what was measured; by default what was measured last, else a100 for jobs with GPUs.
        measure: Measure this machine first, in half a minute, and keep its rates for later plans: best on a node.
        keep_models: Keep the models that are measured in training with pruning as files.
        by: A table with a line for each model, or pruner: hours, memory, disk.
        budget: Hours of one device, such as 100h: say which trials to run first, and write them as a sweep file here.
        compute: How the training that --measure measures computes, as in capbench run.
    """
    config = (site or ClusterOptions()).config()
    selection = (chosen or TrialOptions()).select(sweep, profile, results)
    lines = bench.plan_sweep(selection, config, hardware, measure, budget, compute, keep_models, by)
    if by is None:
        print(f"{selection.title} on {cluster}")
    for line in lines:
        print(line)
