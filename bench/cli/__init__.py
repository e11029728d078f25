"""The `capbench` command."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import pkgutil
import signal
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.cli.cluster_options import ClusterOptions
from bench.core.errors import UserError, first_mistake

if TYPE_CHECKING:
    import pandas as pd

    from bench.cluster.config import ClusterConfig
    from bench.cluster.status import TrialStatus
    from bench.results.store import Store
    from bench.specs.sweep import Sweep
    from bench.specs.trial import Trial
    from bench.trials.context import ExecutionConfig

app = App(
    name="capbench",
    help="Reproducible benchmark of pruners for vision models.",
    version=lambda: importlib.metadata.version("cap-bench"),
)
console = Console()
errors = Console(stderr=True)

SWEEP_POINTS = "capbench.sweeps"
Profile = Annotated[str, Parameter(help="Which models and data: embedded needs nothing but this repository.")]
Results = Annotated[Path, Parameter(help="Folder of all results.")]
Only = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", help="Filter key=value, key one of "
                 "model, family, pruner; several values for one key are alternatives.")]  # fmt: skip
Several = Parameter(consume_multiple=True, negative="")
Seeds = Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative="", help="Only these seeds.")]
Options = Annotated[tuple[str, ...], Parameter(name="--option", consume_multiple=True, negative="", help="Options of "
                    "the pruner, key=value; values are read as JSON if they are any.")]  # fmt: skip


def sweep_modules() -> dict[str, str]:
    """Returns the known sweeps: names to modules, from every package of the entry-point group `capbench.sweeps`."""
    found: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=SWEEP_POINTS):
        package = importlib.import_module(point.value)
        found |= {info.name: f"{point.value}.{info.name}" for info in pkgutil.iter_modules(package.__path__)}
    return dict(sorted(found.items()))


def load_sweep(name: str) -> Sweep:
    """Loads a sweep by name, or from a file `path/to/sweep.py`.

    Raises:
        UserError: If there is no such sweep.
    """
    known = sweep_modules()
    if name in known:
        module = importlib.import_module(known[name])
    elif name.endswith(".py") and Path(name).is_file():
        module = _load_file(name)
    else:
        raise UserError(f"unknown sweep {name!r}: choose from {', '.join(known)}, or give a file path/to/sweep.py")
    from bench.specs.sweep import Sweep

    if not isinstance(module.SWEEP, Sweep):
        raise UserError(f"SWEEP of {name} is no bench.specs.sweep.Sweep but a {type(module.SWEEP).__name__}")
    return module.SWEEP


def _load_file(path: str) -> ModuleType:
    """Imports a sweep file; what is wrong with it is the user's to mend."""
    from pydantic import ValidationError

    from cap.registry import import_file

    try:
        module = import_file(Path(path))
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from None
    except Exception as error:  # noqa: BLE001  whatever the file does
        raise UserError(f"{path}: {type(error).__name__}: {error}") from None
    if not hasattr(module, "SWEEP"):
        raise UserError(f"{path} defines no SWEEP: it must have a variable SWEEP of the class bench.specs.sweep.Sweep")
    return module


def _select(sweep: str, profile: str, only: tuple[str, ...], seeds: tuple[int, ...]) -> tuple[Sweep, tuple[Trial, ...]]:
    loaded = load_sweep(sweep)
    from bench.models import get_model
    from bench.specs.sweep import filter_trials

    for name in dict.fromkeys(trial.model for trial in loaded.trials(profile)):
        get_model(profile, name)  # refuses unknown ones
    return loaded, filter_trials(loaded.trials(profile), only, seeds)


@app.command
def run(
    sweep: str,
    *,
    profile: Profile = "embedded",
    only: Only = (),
    seeds: Seeds = (),
    retry: Literal["failed", "timeout"] | None = None,
    cluster: Literal["inline", "local", "slurm"] = "inline",
    jobs: int | None = None,
    device: str | None = None,
    memory_gb: float | None = None,
    micro_batch: int | None = None,
    results: Results = Path("results"),
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
        allow_dirty: Submit though the checkout differs from its commit.
        dry_run: Show what would run, and stop.
    """
    loaded, trials = _select(sweep, profile, only, seeds)
    from bench.results.store import Store

    store = Store(results, profile, loaded.name)
    title = f"{loaded.name} ({profile})"
    if retry is not None:
        trials = _to_retry(trials, store, retry)
    if cluster != "inline":
        if jobs is not None:
            raise UserError("--jobs is for inline runs: give --max-parallel")
        settings = (site or ClusterOptions()).config()
        _submit(title, trials, store, cluster, settings, device, memory_gb, micro_batch, allow_dirty, dry_run)
        if not dry_run:
            print(f"{_again('status', sweep, profile, results)} --watch shows how the jobs are; they need no terminal")
        return
    if site is not None or micro_batch is not None:
        option = _first_given(site) if site is not None else "--micro-batch"
        raise UserError(f"an inline run has no {option}: it needs --cluster slurm or --cluster local")
    failures = _run_missing(title, trials, store, results, jobs, device or "cpu", memory_gb, dry_run)
    if dry_run:
        return
    _collect(loaded.trials(profile), store)
    if failures:
        raise SystemExit(1)


def _again(command: str, sweep: str, profile: str, results: Path) -> str:
    """Returns a command for the same sweep."""
    options = {"profile": (profile, "embedded"), "results": (str(results), "results")}
    given = [f" --{name} {value}" for name, (value, default) in options.items() if value != default]
    return f"capbench {command} {sweep}{''.join(given)}"


@app.command
def plan(
    sweep: str,
    *,
    profile: Profile = "embedded",
    only: Only = (),
    seeds: Seeds = (),
    cluster: Literal["local", "slurm"] = "slurm",
    hardware: str | None = None,
    results: Results = Path("results"),
    site: Annotated[ClusterOptions | None, Parameter(name="*", group="Cluster")] = None,
) -> None:
    """Show what a sweep would take on a cluster: jobs, hours, memory, storage. Nothing is submitted.

    Args:
        cluster: Where it would run.
        hardware: What one process computes on: cpu (two cores), a100, h100; by default a100 for jobs with GPUs.
    """
    loaded, trials = _select(sweep, profile, only, seeds)
    from bench.cluster.estimate import RATES
    from bench.cluster.plan import describe
    from bench.cluster.submitted import busy
    from bench.results.store import Store

    settings = (site or ClusterOptions()).config()
    hardware = hardware or ("a100" if settings.gpus_per_node or profile == "imagenet" else "cpu")
    if hardware not in RATES:
        raise UserError(f"--hardware {hardware} is not known: choose from {', '.join(RATES)}")
    store = Store(results, profile, loaded.name)
    done = {trial.id for trial in trials if store.is_finished(trial.id)} | busy(store)
    print(f"{loaded.name} ({profile}) on {cluster}")
    for line in describe(trials, done, settings, RATES[hardware]):
        print(line)


def _first_given(site: ClusterOptions) -> str:
    name = next(key for key, value in asdict(site).items() if value not in (None, ()))
    return f"--{name.replace('_', '-')}"


def _to_retry(trials: tuple[Trial, ...], store: Store, retry: str) -> tuple[Trial, ...]:
    """Returns the trials that failed, or timed out, and are in no job that waits or runs.

    Raises:
        UserError: If there is none.
    """
    from bench.cluster.status import RETRIED

    chosen = tuple(found.trial for found in _standings(trials, store) if found.state in RETRIED[retry])
    if not chosen:
        raise UserError(f"no trial to retry: none of {len(trials)} is {' or '.join(RETRIED[retry])}")
    return chosen


def _standings(trials: Iterable[Trial], store: Store) -> list[TrialStatus]:
    from bench.cluster.status import SweepStatus

    status = SweepStatus(store)
    return [status.status(trial) for trial in trials]


def _missing(title: str, trials: tuple[Trial, ...], store: Store, busy: Collection[str] = ()) -> list[Trial]:
    """Says how many trials there are, and returns those that are neither done nor in a job."""
    done = sum(store.is_finished(trial.id) for trial in trials)
    todo = [trial for trial in trials if trial.id not in busy and not store.is_finished(trial.id)]
    waiting = len(trials) - done - len(todo)
    in_jobs = f"{waiting} in jobs already, " if waiting else ""
    text = f"{title}: {len(trials)} trials, {done} done, {in_jobs}{len(todo)} to run"
    console.print(text, highlight=False, soft_wrap=True)
    return todo


def _submit(
    title: str,
    trials: tuple[Trial, ...],
    store: Store,
    cluster: Literal["local", "slurm"],
    site: ClusterConfig,
    device: str | None,
    memory_gb: float | None,
    micro_batch: int | None,
    allow_dirty: bool,
    dry_run: bool,
) -> None:
    """Submits the trials that are neither done nor in a job already."""
    from bench.cluster.executor import ClusterExecutor, check_code, exclusive
    from bench.cluster.submitted import busy
    from bench.execution.preflight import check_models

    if micro_batch is not None and micro_batch < 1:
        raise UserError(f"--micro-batch {micro_batch} is not valid: give at least 1")
    device = device or ("cuda" if site.gpus_per_node else "cpu")
    check_code(allow_dirty)
    executor = ClusterExecutor(store, site, cluster, device, memory_gb, micro_batch)
    if not dry_run:
        store.check_writable()
    with nullcontext() if dry_run else exclusive(store):
        todo = _missing(title, trials, store, busy(store))
        jobs = executor.jobs(todo)
        if dry_run:
            for job in jobs:
                console.print(f"  job of {len(job)}: {', '.join(trial.label for trial in job)}", soft_wrap=True)
            return
        if not todo:
            return
        check_models(todo)
        ids = executor.submit(todo)
    print(f"submitted {len(ids)} jobs: {', '.join(dict.fromkeys(job.partition('_')[0] for job in ids))}")
    if len(ids) < len(jobs) and cluster == "slurm":
        print(f"the site takes no more at present: run again for the other {len(jobs) - len(ids)} jobs")


def _run_missing(
    title: str,
    trials: tuple[Trial, ...],
    store: Store,
    results: Path,
    jobs: int | None,
    device: str,
    memory_gb: float | None,
    dry_run: bool,
) -> int:
    """Runs the trials that are not done yet, or lists them, and returns how many failed."""
    from bench.execution import preflight

    resources = preflight.LocalResources(jobs, device, memory_gb)
    resources.check()
    todo = _missing(title, trials, store)
    if dry_run:
        for trial in todo:
            console.print(f"  {trial.id}  {trial.label}", highlight=False, soft_wrap=True)
        return 0
    if not todo:
        return 0
    store.check_writable()
    preflight.check_models(todo)
    processes, config = resources.share(todo)
    if line := preflight.describe_memory(todo, processes, config):
        console.print(line, highlight=False, soft_wrap=True)
    return _run_with_progress(todo, results, processes, config)


def _run_with_progress(todo: list[Trial], results: Path, processes: int, config: ExecutionConfig) -> int:
    """Runs trials under a progress bar, or with a line now and then where the output is no terminal."""
    from contextlib import closing

    from bench.execution.inline import InlineExecutor
    from bench.execution.pool import PoolExecutor
    from bench.results.store import Store

    executor = InlineExecutor(results, config) if processes == 1 else PoolExecutor(results, config, processes)
    failures = finished = 0
    lines_at = {-(-len(todo) * tenth // 10) for tenth in range(1, 11)}
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("trials", total=len(todo))
        try:
            with closing(executor.run(todo)) as ended:
                for one in ended:
                    finished += 1
                    bar.update(task, advance=1, description=one.trial.label)
                    if one.status == "failed":
                        failures += 1
                        log = Store(results, one.trial.profile, one.trial.sweep).log(one.trial.id)
                        where = f" ({log})" if log.exists() else ""
                        errors.print(
                            f"failed: {one.trial.label}: {one.error}{where}", highlight=False, markup=False,
                            soft_wrap=True,
                        )  # fmt: skip
                    if not console.is_terminal and finished in lines_at:
                        print(f"{finished} of {len(todo)} trials", flush=True)
        except KeyboardInterrupt:
            errors.print(f"interrupted after {finished} of {len(todo)} trials; run again to go on", highlight=False)
            raise SystemExit(130) from None
    return failures


def _collect(trials: tuple[Trial, ...], store: Store) -> pd.DataFrame:
    """Joins the rows of trials, and says which of these have none, or a file that cannot be read."""
    from bench.results.store import DAMAGED

    rows = store.collect([trial.id for trial in trials])
    present = set(rows["trial_id"])
    missing = [trial for trial in trials if trial.id not in present]
    if missing:
        names = sorted({f"{trial.model}/{trial.pruner}" for trial in missing})
        console.print(
            f"{store.collected} lacks {len(missing)} of {len(trials)} trials: {', '.join(names)}", soft_wrap=True
        )
    for trial in missing:
        if store.status(trial.id) == DAMAGED:
            print(f"{store.path(trial.id)} ({trial.label}) cannot be read: run the sweep again to make it anew")
    return rows


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    """Reads options of a pruner, key=value: a value is JSON if it can be read so, else text.

    Raises:
        UserError: If one is not of this form, or is given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UserError(f"cannot read option {text!r}: write key=value")
        if key in options:
            raise UserError(f"option {key} is given twice")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


@app.command
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
    results: Results = Path("results"),
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
    options = _options(option)
    from bench.reports.comparison.report import ComparisonReport
    from bench.results.store import Store
    from bench.specs.comparison import SWEEP, plan

    planned = plan(pruner, options, against, model, sparsity, seeds, finetune, profile)
    store = Store(results, profile, SWEEP, planned.name)
    title = f"{planned.new.label} against {', '.join(other.label for other in planned.against)} ({profile})"
    if overrides := planned.overrides():
        console.print(overrides, highlight=False, soft_wrap=True)
    for line in planned.refusals():
        console.print(line, highlight=False, soft_wrap=True)
    failures = _run_missing(title, planned.trials, store, results, jobs, device, memory_gb, dry_run)
    if dry_run:
        return
    if failures and not any(store.path(trial.id).exists() for trial in planned.trials):
        raise SystemExit(1)
    report = ComparisonReport(_collect(planned.trials, store), planned.entries(), title)
    report.print(console)
    print("written:", ", ".join(map(str, [store.collected, *report.write(store.collected.with_suffix(""))])))
    if failures:
        raise SystemExit(1)


@app.command
def status(
    sweep: str,
    *,
    profile: Profile = "embedded",
    only: Only = (),
    seeds: Seeds = (),
    results: Results = Path("results"),
    watch: bool = False,
    every: float = 10,
) -> None:
    """Show where every trial stands: done, running, pending, preempted, failed, timeout, cancelled or to run.

    Args:
        watch: Go on until nothing runs or waits.
        every: Seconds between two looks.
    """
    loaded, trials = _select(sweep, profile, only, seeds)
    from bench.cluster.status import summary
    from bench.results.store import Store

    store = Store(results, profile, loaded.name)
    found = _standings(trials, store)
    for standing in found:
        print(standing.line())
    print(summary(found), flush=True)
    while watch and not all(standing.is_settled for standing in found):
        time.sleep(every)
        before, found = {standing.trial.id: standing.line() for standing in found}, _standings(trials, store)
        changed = [standing.line() for standing in found if standing.line() != before[standing.trial.id]]
        print("\n".join([*changed, summary(found)]) if changed else summary(found), flush=True)


@app.command
def cancel(sweep: str, *, profile: Profile = "embedded", results: Results = Path("results")) -> None:
    """Cancel all jobs of a sweep; what is done stays, and `capbench run` goes on from there."""
    loaded, _ = _select(sweep, profile, (), ())
    from bench.cluster import submitted
    from bench.results.store import Store

    print(f"cancelled {submitted.cancel(Store(results, profile, loaded.name))} jobs of {loaded.name} ({profile})")


@app.command
def collect(sweep: str, *, profile: Profile = "embedded", results: Results = Path("results")) -> None:
    """Join the results that are there into one table, and say what is missing; at any time, also while jobs run."""
    loaded, _ = _select(sweep, profile, (), ())
    from bench.results.store import Store

    store = Store(results, profile, loaded.name)
    rows = _collect(loaded.trials(profile), store)
    print(f"written: {store.collected}, {len(rows)} rows of {rows['trial_id'].nunique()} trials")


def _collected(sweep: str, profile: str, results: Path) -> Store:
    """Returns where the collected results of a sweep, given by name or file, should be."""
    from bench.results.store import Store

    name = Path(sweep).stem if sweep.endswith(".py") else sweep
    store = Store(results, profile, name)
    if not store.collected.exists() and name == sweep and name not in sweep_modules():
        raise UserError(f"unknown sweep {name!r}, and {store.collected} does not exist: choose from "
                        f"{', '.join(sweep_modules())}")  # fmt: skip
    return store


@app.command
def table(
    sweep: str,
    *,
    profile: Profile = "embedded",
    results: Results = Path("results"),
    into: Path | None = None,
) -> None:
    """Print a sweep's table and verdicts and write them as Markdown and CSV.

    Args:
        sweep: Name of the sweep; its collected results must exist.
        into: A Markdown document whose marked place receives the compact table.
    """
    from bench.reports.sweep import report

    store = _collected(sweep, profile, results)
    rows = store.read()
    if into is not None:
        report.insert(into, store.sweep, rows)
    title = f"{store.sweep} ({profile})"
    report.print_report(rows, results, title, console)
    written = report.write_tables(rows, store, results, title)
    print("written:", ", ".join(map(str, [*written, *([into] if into else [])])))


@app.command
def plot(sweep: str, *, profile: Profile = "embedded", results: Results = Path("results")) -> None:
    """Draw a sweep's figures as PNG and SVG."""
    from bench.reports.sweep import report

    store = _collected(sweep, profile, results)
    written = report.write_figures(store.read(), store, f"{store.sweep} ({profile})")
    print("written:", ", ".join(map(str, written)))


@app.command
def benchmarks(measurements: Path = Path("results/benchmarks/core.json"), *, into: Path | None = None) -> None:
    """Write what `nox -s benchmark` measured as a Markdown table and a figure.

    Args:
        measurements: Output of pytest-benchmark.
        into: A Markdown document whose marked place receives the compact table.
    """
    from bench.reports.kernels import report

    print("written:", ", ".join(map(str, report(measurements, into))))


@app.command
def latency(
    *,
    model: Annotated[tuple[str, ...], Several] = ("deit_tiny", "deit_small", "convnext_tiny", "xcit_small"),
    sparsity: Annotated[tuple[float, ...], Several] = (0.5, 0.75, 0.9),
    batch: Annotated[tuple[int, ...], Several] = (1, 16, 64),
    threads: Annotated[tuple[int, ...], Several] = (),
    engines: Annotated[tuple[str, ...], Several] = ("eager", "compile", "onnxruntime", "openvino", "sparse"),
    seconds: float = 20.0,
    memory: Annotated[tuple[int, ...], Several] = (),
    profile: Profile = "imagenet",
    name: str = "latency",
    results: Results = Path("results"),
    dry_run: bool = False,
) -> None:
    """Measure how fast engines run a model, dense and pruned: only what is not measured at this commit yet.

    Weights are random, with real masks: the time depends on these alone. Leave the machine to it.

    Args:
        model: Models of the profile.
        sparsity: Of the sparse engine; its control with unpruned weights is always measured, too.
        batch: Images in a pass.
        threads: Of a pass; by default one for each core.
        engines: Those that are not installed are left out; eager is always measured.
        seconds: How long to measure each model, batch and number of threads, after its engines are built.
        memory: Of the batch sizes those at which each engine's memory is measured, too, in a process of its own.
        name: The measurements go to RESULTS/NAME.
        dry_run: Show what would be measured, and stop.
    """
    from bench.latency.run import measure_latency
    from bench.reports.latency.analysis import analyse
    from bench.reports.latency.report import print_cells, progress_lines

    planned = measure_latency(model, sparsity, batch, threads, engines, seconds, memory, profile, name, results)
    cells, missing = planned.cells, planned.missing
    for line in planned.left_out:
        console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    print(f"{name}: {len(cells)} cells, {len(cells) - len(missing)} measured, {len(missing)} to measure")
    if dry_run:
        print("\n".join(f"  {cell.label}" for cell in missing))
        return
    failures = 0
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=len(missing))
        for measured in planned.measure(begin=lambda cell: bar.update(task, description=cell.label)):
            if measured.error is not None:
                failures += 1
                line = f"failed: {measured.cell.label}: {measured.error}"
                errors.print(line, highlight=False, markup=False, soft_wrap=True)
            else:
                for line in progress_lines(measured.cell, planned.timings.rows([measured.cell])):
                    bar.console.print(line, highlight=False, soft_wrap=True)
            bar.update(task, advance=1)
    print_cells(analyse(planned.timings.rows(cells)), console)
    print("written:", planned.timings.collected)
    if failures:
        raise SystemExit(1)


@app.command
def speedup(*, name: str = "speedup", results: Results = Path("results"), into: Path | None = None) -> None:
    """Print what `capbench latency` measured with the verdict on claim C5; write table and figure.

    Args:
        name: The measurements are in RESULTS/NAME.
        into: A Markdown document whose place marked `<!-- speedup -->` receives the compact table.
    """
    from bench.reports.latency.report import LatencyReport
    from bench.results.timings import Timings

    report = LatencyReport(Timings(results, name), results)
    report.print(console)
    print("written:", ", ".join(map(str, report.write(into))))


@app.command
def check(pruner: str, *, option: Options = ()) -> None:
    """Check on a tiny model that a pruner does what sweeps rely on; the exit code is 1 if it does not.

    Args:
        pruner: Name of a pruner (see `capbench list pruners`), or path/to/file.py:ClassName. Numbers of gradients must
            not exceed the 48 images of the check.
    """
    from bench.execution.preflight import check_pruner

    options = _options(option)
    check_pruner(pruner, options)
    from cap.testing import run_checks

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


@app.command
def export(
    checkpoint: Path | None = None,
    *,
    model: str | None = None,
    pruner: str = "cap",
    option: Options = (),
    sparsity: str = "0.75",
    seed: int = 0,
    finetune: bool = False,
    int8: bool = False,
    format: Annotated[tuple[Literal["safetensors", "sparse", "onnx"], ...], Several] = (),
    output: Path = Path("export"),
    profile: Profile = "embedded",
    device: str = "cpu",
) -> None:
    """Write a pruned model as files that others read, each read back and compared; and a card about it.

    Args:
        checkpoint: A model that a gradual or AC/DC trial left: results/PROFILE/SWEEP/TRIAL/PATTERN.safetensors.
        model: Without a checkpoint: the model to prune at once.
        pruner: Its pruner (see `capbench list pruners`), or path/to/file.py:ClassName.
        sparsity: A sparsity or another pattern: 0.75, 0.75@layer, 2:4.
        seed: Of the calibration images and the training.
        finetune: Train after pruning, in INT8 if the model is.
        int8: Quantize weights and activations.
        format: safetensors (loads in timm), sparse (bitmask and values), onnx; several may be given. By default
            safetensors, with --int8 sparse.
        output: Folder to write to.
        device: The torch device.
    """
    if (checkpoint is None) == (model is None):
        raise UserError("give either a checkpoint or --model")
    if checkpoint is not None and finetune:
        raise UserError("--finetune belongs to --model: a checkpoint is exported as it is")
    from bench.execution.preflight import check_device, check_pruner
    from bench.export.model import check_formats, load, prune, sizes
    from bench.export.model import export as write

    formats = format or (("sparse",) if int8 else ("safetensors",))
    check_formats(formats, int8)
    check_device(device)
    if checkpoint is not None:
        pruned = load(checkpoint, int8)
    else:
        assert model is not None
        options = _options(option)
        check_pruner(pruner, options)
        pruned = prune(profile, model, pruner, options, sparsity, seed, finetune, int8, device)
    written = write(pruned, formats, output)
    print(f"{pruned.row['top1']:.2f} % top-1, dense {pruned.row['top1_dense']:.2f} %")
    for name, size in sizes(pruned).items():
        print(f"{name:12} {size:>12,} bytes")
    for file in written:
        print(
            f"written: {file.path}, {file.path.stat().st_size:,} bytes; read back, outputs differ by {file.error:.3g}"
        )


@app.command(name="list")
def list_(what: Literal["pruners", "models", "sweeps"]) -> None:
    """List pruners with their options, models of every profile, or sweeps."""
    if what == "pruners":
        import cap

        for name in cap.available():
            options = ", ".join(f"{key}={value!r}" for key, value in cap.default_options(name).items())
            print(f"{name:16} {options}")
    elif what == "models":
        from bench.models import MODELS

        for profile, models in MODELS.items():
            for name, spec in models.items():
                print(f"{profile:10} {name:20} {spec.family:10} {spec.timm_name}")
    else:
        for name in sweep_modules():
            loaded = load_sweep(name)
            sizes = ", ".join(f"{profile}: {len(trials)} trials" for profile, trials in loaded.profiles.items())
            print(f"{name:16} {loaded.title} ({sizes})")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; a user's mistake gives one line and exit code 2."""
    # threads that spin while they wait take the cores from one another where other work runs beside
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # so that worker processes are ended too
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (UserError, CycloptsError) as error:
        message = " ".join(str(error).split())
        errors.print(f"capbench: {message}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("capbench: interrupted; run again to go on")
        sys.exit(130)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
