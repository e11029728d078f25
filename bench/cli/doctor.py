"""`capbench doctor`: whether trials can run in this place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions
from bench.cli.console import say
from bench.cli.options import Choice, Profile, Results, TrialOptions


def doctor(
    sweep: str = "table1",
    *,
    profile: Profile = "embedded",
    chosen: Choice = None,
    every_image: Annotated[bool, Parameter(name="--all", negative="")] = False,
    results: Results = Path("runs"),
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster")] = None,
) -> None:
    """Check data, weights, processor, card and disk of this machine, best a node's; the exit code is 1 if one fails.

    Args:
        sweep: Sweep whose models and settings count.
        every_image: Decode every image, not a sample of them.
    """
    config = (site or ClusterOptions()).config()
    selection = (chosen or TrialOptions()).select(sweep, profile, results)
    failed = 0
    for finding in bench.examine(selection, config, every_image):
        say(str(finding))
        failed += not finding.ok
    if failed:
        raise SystemExit(1)
