"""`capbench status`, `cancel` and `collect`: what became of a sweep's trials."""

from __future__ import annotations

import time
from pathlib import Path

import bench
from bench.cli.console import say, say_error
from bench.cli.options import Choice, Profile, Results, TrialOptions


def status(
    sweep: str,
    *,
    profile: Profile = "embedded",
    chosen: Choice = None,
    results: Results = Path("runs"),
    summary: bool = False,
    state: str | None = None,
    watch: bool = False,
    every: float = 10,
) -> None:
    """Show where every trial stands: done, running, pending, preempted, failed, timeout, cancelled or to run.

    It is about what was run here; a line at the end says what is published in the checkout.

    Args:
        summary: A line for each model in place of one for each trial.
        state: Only trials in this state, such as failed.
        watch: Go on until nothing runs or waits.
        every: Seconds between two looks.
    """
    selection = (chosen or TrialOptions()).select(sweep, profile, results)
    found = bench.sweep_status(selection)
    left = bench.TimeLeft(found.num_settled)
    print("\n".join([*(found.table() if summary else found.lines(state=state)), found.summary]), flush=True)
    while watch and not found.is_settled:
        time.sleep(every)
        before, found = found, bench.sweep_status(selection)
        lines = [] if summary else found.lines(before, state)
        estimate = left.text(found.num_settled, len(found.trials))
        print("\n".join([*lines, f"{found.summary}{estimate}"]), flush=True)
    if (line := selection.published()) is not None:
        print(line)


def cancel(
    sweep: str,
    *,
    profile: Profile = "embedded",
    chosen: Choice = None,
    results: Results = Path("runs"),
) -> None:
    """Cancel the jobs of a sweep, or of some of its trials; what is done stays, and `capbench run` goes on from there.

    Trials that share a job with one of these are cancelled with it.
    """
    selection = (chosen or TrialOptions()).select(sweep, profile, results)
    cancelled = bench.cancel_sweep(selection)
    others = f"; {cancelled.others} trials were in them too, and are to run again" if cancelled.others else ""
    print(f"cancelled {cancelled.jobs} jobs of {selection.title}{others}")


def collect(
    sweep: str, *, profile: Profile = "embedded", results: Results = Path("runs"), images: int | None = None
) -> None:
    """Join the results that are there into one table, and say what is missing; at any time, also while jobs run.

    Args:
        images: The pilot of the sweep on so many images, see capbench run.
    """
    collected = bench.select_trials(sweep, profile, results=results, images=images).collect()
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
