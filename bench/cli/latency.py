"""`capbench latency` and `speedup`: measured times of inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import bench
from bench.cli.console import console, say, say_error, say_written
from bench.cli.options import Profile, Results, Several, ShapeOptions
from bench.cli.progress import progress_bar


def latency(
    *,
    model: Annotated[tuple[str, ...], Several] = (
        "deit_tiny",
        "deit_small",
        "convnext_tiny",
        "xcit_small",
        "resnet50d",
        "pretrained_imagenet/efficientnet_lite0",
    ),
    sparsity: Annotated[tuple[float, ...], Several] = (0.5, 0.75, 0.9),
    batch: Annotated[tuple[int, ...], Several] = (1, 16, 64),
    threads: Annotated[tuple[int, ...], Several] = (),
    engines: Annotated[tuple[str, ...], Several] = (
        "eager",
        "compile",
        "onnxruntime",
        "openvino",
        "openvino_sparse",
        "sparse",
        "sparse_int8",
    ),
    seconds: float = 20.0,
    memory: Annotated[tuple[int, ...], Several] = (),
    profile: Profile = "imagenet",
    name: str = "latency",
    results: Results = Path("runs"),
    dry_run: bool = False,
    own: Annotated[ShapeOptions | None, Parameter(name="*", group="Your own model")] = None,
) -> None:
    """Measure how fast engines run a model, dense and pruned: only what is not measured at this commit yet.

    Weights are random, with real masks: the time depends on these alone. Leave the machine to it.

    Args:
        model: Models of the profile, PROFILE/NAME for one of another, or your own: timm:NAME, my_model.py:FUNCTION.
        sparsity: Of the sparse engines; the control with unpruned weights is always measured, too.
        batch: Images in a pass.
        threads: Of a pass; by default one for each core.
        engines: Those that are not installed are left out; eager is always measured.
        seconds: How long to measure each model, batch and number of threads, after its engines are built.
        memory: Of the batch sizes those at which each engine's memory is measured, too, in a process of its own.
        name: The measurements go to RESULTS/NAME.
        dry_run: Show what would be measured, and stop.
    """
    model = (own or ShapeOptions()).texts(model)
    run = bench.measure_latency(model, sparsity, batch, threads, engines, seconds, memory, profile, name, results)
    cells, missing = run.cells, run.missing
    for line in run.left_out:
        say(f"left out: {line}")
    print(f"{name}: {len(cells)} cells, {len(cells) - len(missing)} measured, {len(missing)} to measure")
    if dry_run:
        print("\n".join(f"  {cell.label}" for cell in missing))
        return
    failures = 0
    with progress_bar(len(missing)) as bar:
        for measured in run.measure(begin=lambda cell: bar.describe(cell.label)):
            if measured.error is not None:
                failures += 1
                say_error(f"failed: {measured.cell.label}: {measured.error}")
            else:
                for line in bench.timing_lines(measured.cell, run.timings.rows([measured.cell])):
                    say(line)
            bar.advance()
    bench.print_timings(bench.analyse_timings(run.timings.rows(cells)), console)
    say_written([run.timings.collected])
    if failures:
        raise SystemExit(1)


def speedup(*, name: str = "speedup", results: Results = Path("runs"), into: Path | None = None) -> None:
    """Print what `capbench latency` measured with the verdict on claim C5; write table and figure.

    It is of what was measured; where nothing was, of what is published in the checkout. A line says which.

    Args:
        name: The measurements are in RESULTS/NAME.
        into: A Markdown document whose place marked `<!-- speedup -->` receives the compact table.
    """
    report = bench.LatencyReport(bench.find_timings(name, results), results)
    report.print(console)
    say(report.source)
    say_written(report.write(into))
