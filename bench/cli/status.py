"""`capbench status`, `cancel` and `collect`: what became of a sweep's trials."""

from __future__ import annotations

import time
from pathlib import Path

import bench
from bench.cli.console import say, say_error
from bench.cli.options import Only, Profile, Results, Seeds


def status(
    sweep: str,
    *,
    profile: Profile = "embedded",
    only: Only = (),
    seeds: Seeds = (),
    results: Results = Path("runs"),
    watch: bool = False,
    every: float = 10,
) -> None:
    """Show where every trial stands: done, running, pending, preempted, failed, timeout, cancelled or to run.

    It is about what was run here; a line at the end says what is published in the checkout.

    Args:
        watch: Go on until nothing runs or waits.
        every: Seconds between two looks.
    """
    selection = bench.select_trials(sweep, profile, only, seeds, results)
    found = bench.sweep_status(selection)
    print("\n".join([*found.lines(), found.summary]), flush=True)
    while watch and not found.is_settled:
        time.sleep(every)
        before, found = found, bench.sweep_status(selection)
        print("\n".join([*found.lines(before), found.summary]), flush=True)
    if (line := selection.published()) is not None:
        print(line)


def cancel(sweep: str, *, profile: Profile = "embedded", results: Results = Path("runs")) -> None:
    """Cancel all jobs of a sweep; what is done stays, and `capbench run` goes on from there."""
    selection = bench.select_trials(sweep, profile, results=results)
    print(f"cancelled {bench.cancel_sweep(selection)} jobs of {selection.title}")


def collect(sweep: str, *, profile: Profile = "embedded", results: Results = Path("runs")) -> None:
    """Join the results that are there into one table, and say what is missing; at any time, also while jobs run."""
    collected = bench.select_trials(sweep, profile, results=results).collect()
    say_gaps(collected)
    rows, path = collected.rows, collected.selection.store.collected
    print(f"written: {path}, {len(rows)} rows of {rows['trial_id'].nunique()} trials")


def say_gaps(collected: bench.CollectedResults) -> None:
    """Prints which trials have no rows, or a file that cannot be read."""
    for line in collected.gaps():
        say(line)


def say_invalid(lines: list[str]) -> bool:
    """Prints the lines about invalid rows, and returns whether there are any."""
    for line in lines:
        say_error(line)
    return bool(lines)
