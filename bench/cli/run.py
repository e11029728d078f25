"""`capbench run`: trials of a sweep, here or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import bench
from bench.cli.cluster_options import ClusterOptions
from bench.cli.console import console, say, say_error
from bench.cli.options import Choice, Profile, Results, Several, TrialOptions, first_given
from bench.cli.progress import progress_bar
from bench.cli.status import say_gaps, say_invalid


def run(
    sweep: str,
    *,
    profile: Profile = "embedded",
    chosen: Choice = None,
    retry: Literal["failed", "timeout"] | None = None,
    cluster: Literal["inline", "local", "slurm"] = "inline",
    jobs: int | None = None,
    device: str | None = None,
    memory_gb: float | None = None,
    micro_batch: int | None = None,
    expect_top1: Annotated[tuple[str, ...], Several] = (),
    compute: Literal["auto", "compile", "plain"] = "auto",
    keep_models: bool = True,
    results: Results = Path("runs"),
    allow_dirty: bool = False,
    dry_run: bool = False,
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster (local and slurm)")] = None,
) -> None:
    """Run a sweep: only what is neither done nor in a job already.

    Args:
        sweep: Name of a sweep (see `capbench list sweeps`), or a file path/to/sweep.py.
        retry: Only the trials that failed, or that the time limit was too short for.
        cluster: Where: in processes of this command, as local jobs that outlive it, or as jobs of SLURM.
        jobs: Parallel processes of an inline run; by default one for each core, on a GPU one.
        device: The torch device of all trials: cpu, cuda, cuda:1, ...; by default cuda for jobs with GPUs, else cpu.
        memory_gb: GiB that the fits of all processes together may take on the device; by default what is free less a
            tenth. Results do not depend on it.
        micro_batch: Training images in one forward pass of each process of a job; by default its share of the batch.
        expect_top1: Dense accuracy that your weights should reach, PERCENT or MODEL=PERCENT, in place of the recorded.
        compute: How training computes: auto for what suits the card, compile for the same through torch.compile, plain
            for the recipe's precision and nothing else.
        keep_models: Keep the models that are measured in training with pruning as files, see capbench plan.
        allow_dirty: Submit though the checkout differs from its commit.
        dry_run: Show what would run, and stop.
    """
    selection = (chosen or TrialOptions()).select(sweep, profile, results)
    selection = bench.select_to_retry(selection, retry) if retry is not None else selection
    expected = selection.read_expected_top1(expect_top1)
    if cluster != "inline":
        if jobs is not None:
            raise bench.UserError("--jobs is for inline runs: give --max-parallel")
        config = (site or ClusterOptions()).config()
        target = bench.ClusterTarget(
            cluster, config, device, memory_gb, micro_batch, expected, compute=compute, keep_models=keep_models
        )
        return submit(selection, target, allow_dirty, dry_run)
    if site is not None or micro_batch is not None:
        option = first_given(site) if site is not None else "--micro-batch"
        raise bench.UserError(f"an inline run has no {option}: it needs --cluster slurm or --cluster local")
    resources = bench.LocalResources(jobs, device or "cpu", memory_gb, compute)
    here = bench.LocalRun(selection, resources, expected, keep_models)
    say_skips(here.todo)
    failures = run_here(here, dry_run)
    if dry_run:
        return
    collected = selection.collect()
    if collected.has_pruned():
        console.print(bench.outcome_table(collected.rows, selection.title))
        store = selection.store
        say(f"written: {store.collected}; more: {store.command('table')}, capbench report")
    say_gaps(collected)
    if (line := collected.skips()) is not None:
        say(line)
    if say_invalid(collected.invalid()) or failures or not collected.has_pruned():
        raise SystemExit(1)


def say_skips(trials: Sequence[bench.Trial]) -> None:
    """Prints what own models and data are run with, and which patterns will be skipped."""
    for line in (*bench.model_notes(trials), *bench.skipped_patterns(trials)):
        say(line)


def submit(selection: bench.TrialSelection, target: bench.ClusterTarget, allow_dirty: bool, dry_run: bool) -> None:
    """Submits the trials that are neither done nor in a job already, or lists the jobs."""
    with bench.prepare_submission(selection, target, allow_dirty, dry_run) as submission:
        say_skips(submission.todo)
        say(submission.summary)
        if dry_run:
            for job in submission.jobs:
                say(f"  job of {len(job)}: {', '.join(map(selection.label, job))}")
        elif submission.todo:
            for line in submission.submit():
                print(line)
    if not dry_run:
        print(f"{selection.store.command('status')} --watch shows how the jobs are; they need no terminal")


def run_here(run: bench.LocalRun, dry_run: bool) -> int:
    """Runs the trials that are not done yet, or lists them, and returns how many failed."""
    say(run.summary)
    if dry_run:
        for trial in run.todo:
            say(f"  {trial.id}  {run.selection.label(trial)}")
        return 0
    if not run.todo:
        return 0
    if (line := run.check()) is not None:
        say(line)
    return _follow(run)


def _follow(run: bench.LocalRun) -> int:
    """Runs trials under a progress bar, or with a line now and then where the output is no terminal."""
    total, failures, number, start = len(run.todo), 0, 0, time.monotonic()
    lines_at, left = {-(-total * tenth // 10) for tenth in range(1, 11)}, bench.TimeLeft()
    with progress_bar(total, "trials") as bar:
        try:
            with closing(run.run(lambda one: bar.inside(*astuple(one)))) as trials:
                for number, finished in enumerate(trials, 1):
                    bar.advance(finished.trial.label)
                    if finished.status == "failed":
                        failures += 1
                        say_error(_failure(finished, run.selection.store.log(finished.trial.id)))
                    if not console.is_terminal and number in lines_at:
                        print(f"{number} of {total} trials{left.text(number, total)}", flush=True)
        except KeyboardInterrupt:
            say_error(f"interrupted after {number} of {total} trials; run again to go on")
            raise SystemExit(130) from None
    took = bench.duration(time.monotonic() - start)
    say(f"{total} trials in {took}: {total - failures} done, {failures} failed")
    return failures


def _failure(finished: bench.FinishedTrial, log: Path) -> str:
    where = f" ({log})" if log.exists() else ""
    return f"failed: {finished.trial.label}: {finished.error}{where}"
