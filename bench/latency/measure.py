"""Measured time and memory of inference: the engines of a cell against one another in one process, round by round."""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

import cap
from bench.core import provenance
from bench.core.peak_memory import start_peak
from bench.evaluation.macs import count_macs
from bench.latency.engines import BASELINE, ENGINES, Engine, EngineConfig, ForwardPass, Workload
from bench.latency.models import find_model
from bench.latency.plan import engine_configs
from bench.latency.random_models import pruned_models
from bench.latency.rounds import OtherLoad, interleave
from bench.latency.subprocesses import run_in_subprocess
from bench.results.timings import FAILED, TIMED, WRONG, Cell, TimingRow


def deviation(outputs: Any, expected: Tensor) -> float:
    """Returns the largest difference to the expected outputs, relative to the largest of these; inf if not finite."""
    found = torch.as_tensor(outputs)
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf")
    return ((found - expected).abs().max() / expected.abs().max()).item()


class CellWorkloads:
    """The pruned models of a cell and their input, for the engines; for a process of its own.

    Args:
        cell: Cell that is measured; sets the threads of this process.
        sparsities: Sparsities that are needed, fractions.
        folder: Folder for files of engines; those of the cell that are there already are used.

    Attributes:
        spec: The model.
        models: {sparsity: (model, fraction of zeros in its prunable layers)}.
        example: Input, (batch, channels, height, width).
    """

    def __init__(self, cell: Cell, sparsities: Sequence[float], folder: Path) -> None:
        torch.set_num_threads(cell.threads)
        self.cell, self.folder = cell, folder
        self.spec = find_model(cell.profile, cell.model)
        self.models = pruned_models(self.spec, sparsities, cell.seed)
        generator = torch.Generator().manual_seed(cell.seed)
        self.example = torch.randn(cell.batch, *self.spec.input_shape, generator=generator)

    def workload(self, config: EngineConfig) -> Workload:
        """Returns what an engine is to run at a sparsity."""
        control = not ENGINES[config.engine].dense and config.sparsity == 0
        folder = self.folder / f"{config.sparsity:g}"
        folder.mkdir(exist_ok=True)
        return Workload(self.models[config.sparsity][0], self.example, self.cell.threads, folder, control)

    def macs(self, sparsity: float) -> int:
        """Returns the multiply-adds of a pass on the example that a model's zeros leave."""
        model = self.models[sparsity][0]
        weights = dict(model.named_parameters())
        names = cap.select_layers(model, self.spec.prunable)
        zeros = {name: 1 - float(weights[name].count_nonzero()) / weights[name].numel() for name in names}
        return self.cell.batch * count_macs(model, names, self.example[:1]).sparse(zeros)


def peak_macs() -> float:
    """Returns the multiply-adds a second of torch's matrix product of 1,024 x 1,024 floats, the best of eleven."""
    one = torch.ones(1024, 1024)
    out = torch.empty_like(one)
    best = min(_seconds_of(lambda: torch.mm(one, one, out=out)) for _ in range(11))
    return one.numel() * 1024 / best


def _seconds_of(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@dataclass
class EngineCheck:
    """Outcome of building an engine and comparing its outputs with eager's; the fields are those of `TimingRow`.

    Attributes:
        status: One of `TIMED`, `WRONG` and `FAILED`.
        error: Reason why it is not timed.
        deviation: Largest difference to eager's outputs, relative to the largest of these.
        build_seconds: Time of export or compilation, seconds.
        load_seconds: Time to load it again from disk, seconds; None for an engine that leaves nothing there.
        layers_sparse: Layers that the sparse engine runs with its own kernels.
        layers_dense: Layers that it leaves dense.
        run: Forward pass, if it is to be timed.
    """

    status: str = TIMED
    error: str | None = None
    deviation: float | None = None
    build_seconds: float | None = None
    load_seconds: float | None = None
    layers_sparse: int | None = None
    layers_dense: int | None = None
    run: ForwardPass | None = None


def check_engine(engine: Engine, workload: Workload, expected: Tensor) -> EngineCheck:
    """Builds an engine, and compares its outputs with those of the uncompiled model.

    Args:
        engine: The engine.
        workload: Model and input.
        expected: Outputs of the model, (batch, classes).
    """
    check = EngineCheck()
    try:
        engine.export(workload)
        begin = time.perf_counter()
        session = engine.build(workload)
        check.build_seconds = time.perf_counter() - begin
        check.layers_sparse, check.layers_dense = session.layers_sparse, session.layers_dense
        check.deviation = deviation(session.run(), expected)
    except Exception as error:  # noqa: BLE001  an engine of a third party may raise anything
        check.status, check.error = FAILED, " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return check
    if session.reload is not None:
        with suppress(Exception):  # which has no time then; the engine runs all the same
            check.load_seconds = session.reload()
    if check.deviation > engine.tolerance:
        difference = f"{check.deviation:.1g} of the largest"
        check.status, check.error = WRONG, f"outputs differ from {BASELINE}'s by {difference}"
        return check
    check.run = session.run
    return check


def measure_cell(cell: Cell, folder: Path) -> list[TimingRow]:
    """Measures a cell; for a process of its own.

    Every engine's outputs are compared with eager's, of the same weights, before any time is taken. One that fails, or
    whose outputs differ, is reported and not timed.

    Args:
        cell: Cell to measure.
        folder: Folder for files of engines.

    Returns:
        A row for each engine and sparsity, without memory.
    """
    started = datetime.now(timezone.utc)
    workloads = CellWorkloads(cell, (0.0, *cell.sparsities), folder)
    with torch.inference_mode():
        expected = {sparsity: model(workloads.example) for sparsity, (model, _) in workloads.models.items()}
    versions, peak = _versions(cell), peak_macs()
    macs = {sparsity: workloads.macs(sparsity) for sparsity in workloads.models}
    rows: dict[EngineConfig, TimingRow] = {}
    passes: dict[EngineConfig, ForwardPass] = {}
    for config in engine_configs(cell):
        engine = ENGINES[config.engine]
        check = check_engine(engine, workloads.workload(config), expected[config.sparsity])
        rows[config] = TimingRow(
            model=cell.model, family=workloads.spec.family, timm_name=workloads.spec.timm_name, batch=cell.batch,
            threads=cell.threads, engine=engine.name, dense=engine.dense, sparsity_target=config.sparsity,
            sparsity_prunable=workloads.models[config.sparsity][1], status=check.status, error=check.error,
            deviation=check.deviation, build_seconds=check.build_seconds, load_seconds=check.load_seconds,
            layers_sparse=check.layers_sparse, layers_dense=check.layers_dense, cell=cell.id,
            commit=provenance.commit(), dirty=provenance.dirty(),
            versions=versions, processor=provenance.processor(), cores=os.cpu_count(), started_at=started,
            macs=macs[config.sparsity], peak_macs=peak,
        )  # fmt: skip
        if check.run is not None:
            passes[config] = check.run
    load = OtherLoad()
    times = interleave(passes, cell.seconds)
    others = load.cores()
    for config, seconds in times.items():
        rows[config].seconds, rows[config].others = seconds, others
    return list(rows.values())


def _versions(cell: Cell) -> str:
    """Returns the versions of Python, of this project's packages and of those of the cell's engines, as JSON."""
    packages = sorted({package for name in cell.engines for package in ENGINES[name].packages})
    found = {package: importlib.metadata.version(package) for package in packages}
    return json.dumps({**json.loads(provenance.versions()), **found}, sort_keys=True)


def measure_memory(cell: Cell, config: EngineConfig, folder: Path) -> int | None:
    """Measures the memory of an engine and one pass of it; for a process of its own.

    Args:
        cell: Cell that is measured.
        config: Engine and sparsity.
        folder: Folder for files of engines.

    Returns:
        The growth of the resident memory in bytes, from before the engine is built to the most during its second pass:
        what building takes for a while does not count, nor does the model that it is built from. None where it cannot
        be measured.
    """
    workload = CellWorkloads(cell, (config.sparsity,), folder).workload(config)
    engine = ENGINES[config.engine]
    engine.export(workload)
    _release_free_memory()
    before = psutil.Process().memory_info().rss
    session = engine.build(workload)
    session.run()
    _release_free_memory()
    peak = start_peak(torch.device("cpu"))
    session.run()
    most = peak()
    return None if most is None else most - before


def _release_free_memory() -> None:
    """Returns memory that is free within this process to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):  # there is no such call outside glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def measure_in_subprocesses(cell: Cell) -> list[TimingRow]:
    """Measures a cell in a fresh process, and the memory of each of its engines, if wanted, in one of its own.

    Raises:
        RuntimeError: If it cannot be measured at all.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            rows = run_in_subprocess(measure_cell, cell, Path(folder))
            timed = [row for row in rows if cell.memory and row.status == TIMED]
            configs = [EngineConfig(row.engine, row.sparsity_target) for row in timed]
            waiting = [pool.submit(run_in_subprocess, measure_memory, cell, config, Path(folder)) for config in configs]
            for row, memory in zip(timed, waiting, strict=True):
                row.memory_bytes = memory.result()
        except BaseException:  # an interruption too must not wait for what is no longer wanted
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.kill()
            raise
    return rows
