"""`capbench show` and `rerun`: what a row is, and whether it comes out the same again."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.cli.console import say
from bench.cli.options import Results


def show(id: str, *, results: Results = Path("runs")) -> None:
    """Show all values that a trial's rows were made with, where they lie, and the command that makes them.

    Args:
        id: Identity of the trial, in the column trial_id of the results, or the beginning of it.
    """
    for line in bench.find_trial(id, results).lines():
        say(line)


def rerun(id: str, *, device: str = "cpu", results: Results = Path("runs")) -> None:
    """Run a trial again and compare with its stored rows, which stay as they are; the exit code is 1 if one differs.

    Args:
        id: Identity of the trial, or the beginning of it.
        device: The torch device.
    """
    stored = bench.find_trial(id, results)
    say(f"{stored.trial_id}  {stored.trial.label}, rows in {stored.path}")
    found = bench.rerun(stored, device)
    for row in found:
        say(row.line())
    if any(row.agreement == "differs" for row in found):
        raise SystemExit(1)
