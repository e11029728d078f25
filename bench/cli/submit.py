"""`capbench submit` and `verify`: submissions to the leaderboard."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal

import bench
from bench.cli.console import say, say_written
from bench.cli.options import Profile, Results


def submit(
    comparison: str,
    *,
    method: str,
    authors: str = "",
    source: str = "",
    configurations: int = 1,
    chosen_on: Literal["none", "validation"] = "none",
    profile: Profile = "embedded",
    results: Results = Path("runs"),
    output: Path = Path("submissions"),
) -> None:
    """Make a submission of a finished comparison: the new pruner's file, its settings and all rows.

    Args:
        comparison: The comparison by `capbench compare`: the name of its files, or one of them.
        method: Name of the method; an older submission of that name is replaced.
        authors: Names of the submitters.
        source: Paper or page that describes the method.
        configurations: How many settings of the pruner were tried for each model.
        chosen_on: The split that they were chosen on.
        output: Folder of all submissions.
    """
    made = bench.submit_comparison(
        comparison, method, authors, source, configurations, chosen_on, profile, results, output
    )
    say_written(sorted(made.folder.iterdir()))
    say(f"capbench verify {made.folder} checks it, and runs some cells again")


def verify(submission: Path, *, cells: int = 2, draw: int | None = None, device: str = "cpu") -> None:
    """Check a submission: files, protocol, tuning budget, rows, contract, and some cells run again.

    If all holds it is recorded in its folder, and `capbench report` shows it as verified; the exit code is 1 if not.
    The pruner's file is run: read it first.

    Args:
        submission: Folder of the submission.
        cells: Cells (model, pattern, seed) of the submitted pruner to run again; of each of the others one.
        draw: Number that tells one sample of cells from another; by default one at random.
        device: The torch device.
    """
    failed, draw = False, secrets.randbelow(10**6) if draw is None else draw
    for point in bench.verify_submission(submission, cells, draw, device):
        say(point.line())
        failed = failed or point.failure is not None
    if failed:
        raise SystemExit(1)
    say(f"{submission} is verified (--draw {draw})")
