"""`capbench table`, `plot` and `benchmarks`: reports on results."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.cli.console import console, say_written
from bench.cli.options import Profile, Results
from bench.cli.status import say_invalid


def table(
    sweep: str,
    *,
    profile: Profile = "embedded",
    results: Results = Path("results"),
    into: Path | None = None,
) -> None:
    """Print a sweep's table and verdicts and write them as Markdown and CSV; the exit code is 1 if rows are invalid.

    Args:
        sweep: Name of the sweep; its collected results must exist.
        into: A Markdown document whose marked place receives the compact table.
    """
    report = bench.SweepReport(bench.find_results(sweep, profile, results), results)
    written = report.write(into)
    report.print(console)
    say_written(written)
    if say_invalid(report.invalid):
        raise SystemExit(1)


def plot(sweep: str, *, profile: Profile = "embedded", results: Results = Path("results")) -> None:
    """Draw a sweep's figures as PNG and SVG; the exit code is 1 if rows are invalid, which are left out."""
    report = bench.SweepReport(bench.find_results(sweep, profile, results), results)
    say_written(report.draw())
    if say_invalid(report.invalid):
        raise SystemExit(1)


def benchmarks(measurements: Path = Path("results/benchmarks/core.json"), *, into: Path | None = None) -> None:
    """Write what `nox -s benchmark` measured as a Markdown table and a figure.

    Args:
        measurements: Output of pytest-benchmark.
        into: A Markdown document whose marked place receives the compact table.
    """
    say_written(bench.write_kernel_report(measurements, into))
