"""`capbench table`, `plot`, `report` and `benchmarks`: reports on results."""

from __future__ import annotations

from pathlib import Path

import bench
from bench.cli.console import console, say, say_written
from bench.cli.options import Profile, Results
from bench.cli.status import say_invalid


def table(
    sweep: str,
    *,
    profile: Profile = "embedded",
    results: Results = Path("runs"),
    images: int | None = None,
    into: Path | None = None,
) -> None:
    """Print a sweep's table and verdicts and write them as Markdown and CSV; the exit code is 1 if rows are invalid.

    It is of what was run; where nothing was, of what is published in the checkout. A line says which.

    Args:
        sweep: Name of the sweep.
        images: The pilot of the sweep on so many images, see capbench run.
        into: A Markdown document whose marked place receives the compact table.
    """
    report = bench.SweepReport(bench.find_results(sweep, profile, results, images), results)
    written = report.write(into)
    report.print(console)
    say(report.source)
    say_written(written)
    if say_invalid(report.invalid):
        raise SystemExit(1)


def plot(sweep: str, *, profile: Profile = "embedded", results: Results = Path("runs")) -> None:
    """Draw a sweep's figures as PNG and SVG, of what was run, where nothing was of what is published.

    The exit code is 1 if rows are invalid, which are left out.
    """
    report = bench.SweepReport(bench.find_results(sweep, profile, results), results)
    written = report.draw()
    say(report.source)
    say_written(written)
    if say_invalid(report.invalid):
        raise SystemExit(1)


def report(
    *sweeps: str,
    profile: Profile = "embedded",
    results: Results = Path("runs"),
    compare: str | None = None,
    submissions: Path | None = None,
    output: Path | None = None,
) -> None:
    """Write all results as one page of HTML that opens without a network: tables, interactive figures, origins.

    Args:
        sweeps: Names of sweeps; by default all that have results, none beside a comparison.
        compare: A comparison by `capbench compare`: the name of its files, or one of them.
        submissions: Folder of submissions to show; by default submissions here, else the checkout's, none beside a
            comparison.
        output: The file; by default report.html in the folder of results.
    """
    comparison = None if compare is None else bench.find_comparison(compare, profile, results)
    names = sweeps or (tuple(bench.collected_sweeps(profile, results)) if comparison is None else ())
    stores = [bench.find_results(name, profile, results) for name in names]
    wanted = submissions is not None or comparison is None
    page = bench.PageReport(stores, results, comparison, bench.find_submissions(submissions) if wanted else ())
    written = page.write(output)
    for line in page.sources:
        say(line)
    say_written([written])


def benchmarks(measurements: Path | None = None, *, into: Path | None = None) -> None:
    """Write what `nox -s benchmark` measured as a Markdown table and a figure.

    Args:
        measurements: Output of pytest-benchmark; by default runs/benchmarks/core.json, where there is none the
            published one.
        into: A Markdown document whose marked place receives the compact table.
    """
    measurements = measurements or bench.find_benchmarks()
    say(f"measurements: {measurements}")
    say_written(bench.write_kernel_report(measurements, into))
