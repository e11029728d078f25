"""`capbench publish`: results from the working folder into what the checkout commits."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.cli.console import say, say_written
from bench.cli.options import Profile, Results


def publish(
    sweep: str,
    *,
    profile: Profile = "embedded",
    results: Results = Path("runs"),
    into: Path | None = None,
    redraw: bool = False,
    dry_run: bool = False,
) -> None:
    """Replace the published results of a sweep, in the checkout's folder results, by what was run; nothing else does.

    Rows, tables and figures are replaced together or not at all. Refused are a sweep with trials that are not done,
    rows of several commits or of code that was not committed, a checkout whose bench, cap or sweeps differ from its
    commit, and rows of another commit, unless that is an earlier one since which these three have not changed.

    Args:
        sweep: Name of a sweep (see `capbench list sweeps`); speedup, as nox -s reproduce_speedup measured it; or
            benchmarks, as nox -s benchmark did.
        into: A document of the checkout whose marked place receives the compact table, such as README.md.
        redraw: Keep the published rows, whatever the checkout's code is by now, and make their tables and figures anew.
        dry_run: Say what would change, and stop.
    """
    publication = bench.prepare_publication(sweep, profile, results, redraw)
    for line in publication.changes:
        say(line)
    if not dry_run:
        say_written(publication.write(into))
