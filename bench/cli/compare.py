"""`capbench compare`: a new pruner against others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import bench
from bench.cli.console import console, say, say_written
from bench.cli.options import Options, Profile, Results, Several, read_options
from bench.cli.run import run_here
from bench.cli.status import say_gaps


def compare(
    *,
    pruner: str,
    option: Options = (),
    against: Annotated[tuple[str, ...], Several] = ("cap", "woodfisher", "magnitude"),
    model: Annotated[tuple[str, ...], Several] = (),
    sparsity: Annotated[tuple[str, ...], Several] = ("0.5", "0.75", "0.9"),
    seeds: Annotated[tuple[int, ...], Several] = (0, 1, 2),
    finetune: bool = False,
    profile: Profile = "embedded",
    jobs: int | None = None,
    device: str = "cpu",
    memory_gb: float | None = None,
    results: Results = Path("runs"),
    dry_run: bool = False,
) -> None:
    """Compare a new pruner with others on the same images, seeds and budget: only what is not done yet runs.

    Args:
        pruner: The new pruner: path/to/file.py:ClassName, or a name of `capbench list pruners`.
        against: The pruners to compare it with.
        model: Models; by default all of the profile.
        sparsity: Sparsities or other patterns: 0.75, 0.75@layer, 0.75@blocks4, 2:4.
        seeds: Each draws other calibration images.
        finetune: Also fine-tune after every pattern, as in Table 1.
        jobs: Parallel processes; by default one for each core, on a GPU one.
        device: The torch device of all trials: cpu, cuda, cuda:1, ...
        memory_gb: GiB that the fits of all processes together may take on the device; by default what is free less a
            tenth. Results do not depend on it.
        dry_run: Show what would run, and stop.
    """
    options = read_options(option)
    planned = bench.plan_comparison(pruner, options, against, model, sparsity, seeds, finetune, profile)
    selection = bench.select_comparison(planned, results)
    for line in planned.notes():
        say(line)
    failures = run_here(bench.LocalRun(selection, bench.LocalResources(jobs, device, memory_gb)), dry_run)
    if dry_run:
        return
    if failures and not selection.has_results():
        raise SystemExit(1)
    collected = selection.collect()
    say_gaps(collected)
    report = bench.ComparisonReport(collected.rows, planned.entries(), selection.title)
    report.print(console)
    table = selection.store.collected
    say_written([table, *report.write(table.with_suffix(""))])
    if failures:
        raise SystemExit(1)
