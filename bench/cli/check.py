"""`capbench check`: the contract that a pruner keeps."""

from __future__ import annotations

import textwrap
from collections import Counter

import bench
from bench.cli.options import Options, read_options


def check(pruner: str, *, option: Options = ()) -> None:
    """Check on a tiny model that a pruner does what sweeps rely on; the exit code is 1 if it does not.

    Args:
        pruner: Name of a pruner (see `capbench list pruners`), or path/to/file.py:ClassName. Numbers of gradients must
            not exceed the 48 images of the check.
    """
    options = read_options(option)
    bench.check_pruner(pruner, options)
    from cap.testing.contract import run_checks

    counts: Counter[str] = Counter()
    for outcome in run_checks(pruner, options):
        counts[outcome.status] += 1
        if outcome.status == "failed":
            print(f"FAILED   {outcome.check.name}: {outcome.message}")
            for paragraph in outcome.check.explanation.split("\n\n"):
                print(textwrap.fill(paragraph, width=100, initial_indent=" " * 9, subsequent_indent=" " * 9))
        else:
            print(f"{outcome.status:8} {outcome.check.name}{f' ({outcome.message})' if outcome.message else ''}")
    print(f"{pruner}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if counts["failed"]:
        raise SystemExit(1)
