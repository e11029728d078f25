"""`capbench compare`: a new pruner against others."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import bench
from bench.cli.console import console, document_alone, document_writer, say, say_error, say_written
from bench.cli.options import ChoiceOptions, Options, OwnOptions, Profile, Results, Several, read_options
from bench.cli.run import run_here
from bench.cli.status import say_gaps, say_invalid


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
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    check: bool = True,
    dry_run: bool = False,
    choice: Annotated[ChoiceOptions | None, Parameter(name="*", group="Split and settings")] = None,
    own: Annotated[OwnOptions | None, Parameter(name="*", group="Your own model and data")] = None,
) -> None:
    """Compare a new pruner with others on the same images, seeds and budget: only what is not done yet runs.

    First the new pruner is checked as by `capbench check`; one that fails does not run. The exit code is 1 if it fails,
    a trial fails, or a pruned model is not at its pattern.

    Args:
        pruner: The new pruner: path/to/file.py:ClassName, or a name of `capbench list pruners`.
        against: The pruners to compare it with.
        model: Models; by default those of the profile with several dense models, or all. With --data: timm:NAME, or
            my_model.py:FUNCTION.
        sparsity: Sparsities or other patterns: 0.75, 0.75@layer, 0.75@blocks4, 2:4.
        seeds: Each is another dense model where there are several, and draws other calibration images.
        finetune: Also fine-tune after every pattern, and the dense model: the protocol's training where there is one.
        jobs: Parallel processes; by default one for each core, on a GPU one.
        device: The torch device of all trials: cpu, cuda, cuda:1, ...
        memory_gb: GiB for the fits of all processes together; by default what is free less a tenth.
        json: File for the report as a JSON document, or - to print it alone to the standard output.
        check: Check the new pruner first.
        dry_run: Show what would run, and stop.
    """
    document = document_writer(json)
    model, profile = (own or OwnOptions()).texts(model, profile)
    given = (read_options(option), against, model, sparsity, seeds, finetune, profile)
    planned = bench.plan_comparison(pruner, *given, **asdict(choice or ChoiceOptions()), results=results)
    with document_alone(json == "-"):
        run = bench.LocalRun(bench.select_comparison(planned, results), bench.LocalResources(jobs, device, memory_gb))
        for line in planned.notes():
            say(line)
        if check and not dry_run and (broken := bench.contract_failures(planned, run.todo)):
            say_error("\n".join(broken))
            raise SystemExit(1)
        failures = run_here(run, dry_run)
        if dry_run:
            return
        if failures and not run.selection.has_results():
            raise SystemExit(1)
        report = _report(planned, run.selection)
    if document is not None:
        document(report.json())
    if report.invalid or failures:
        raise SystemExit(1)


def _report(planned: bench.Comparison, selection: bench.TrialSelection) -> bench.ComparisonReport:
    """Prints and writes the report of a comparison that has run."""
    collected = selection.collect()
    say_gaps(collected)
    predictions = selection.store.predictions()
    report = bench.ComparisonReport(collected.rows, planned.entries(), selection.title, predictions)
    report.print(console)
    say_invalid(report.invalid)
    table = selection.store.collected
    say_written([table, *report.write(table.with_suffix(""))])
    say(f"as a page: capbench report --compare {shlex.quote(str(table.with_suffix('.json')))}")
    return report
