"""`capbench check`: the contract that a pruner keeps."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import bench
from bench.cli.console import say
from bench.cli.options import Options, read_options
from bench.cli.progress import progress_bar

if TYPE_CHECKING:
    from cap.testing import Check


def check(pruner: str, *, option: Options = ()) -> None:
    """Check on a tiny model that a pruner does what sweeps rely on; the exit code is 1 if it does not.

    Args:
        pruner: Name of a pruner (see `capbench list pruners`), or path/to/file.py:ClassName. Numbers of gradients must
            not exceed the 48 images of the check.
    """
    options = read_options(option)
    bench.check_pruner(pruner, options)
    from cap.testing.contract import CHECKS, run_checks

    counts: Counter[str] = Counter()
    failures: dict[str, list[Check]] = {}  # by what was found
    with progress_bar(len(CHECKS), "checks") as bar:
        for outcome in run_checks(pruner, options, lambda done, total, text: bar.describe(f"{done}/{total} {text}")):
            bar.advance()
            counts[outcome.status] += 1
            if outcome.status == "failed":
                failures.setdefault(outcome.message, []).append(outcome.check)
            else:
                say(f"{outcome.status:8} {outcome.check.name}{f' ({outcome.message})' if outcome.message else ''}")
    for message, checks in failures.items():
        _say_failure(message, checks)
    say(f"{pruner}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    if counts["failed"]:
        raise SystemExit(1)


def _say_failure(message: str, checks: Sequence[Check]) -> None:
    """Prints a cause of failure once, with what the first check requires, and the names of the other checks."""
    first, *others = checks
    say(f"FAILED   {first.name}: {message}")
    if others:
        count = "1 more check" if len(others) == 1 else f"{len(others)} more checks"
        say(f"         ... and {count}: {', '.join(check.name for check in others)}")
    for paragraph in first.explanation.split("\n\n"):
        say(textwrap.fill(paragraph, width=100, initial_indent=" " * 9, subsequent_indent=" " * 9))
