"""Measured time of inference: engines against one another in one process, round by round."""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import itertools
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from multiprocessing import active_children
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.core import provenance
from bench.core.errors import UserError, first_mistake
from bench.core.peak_memory import start_peak
from bench.core.subprocesses import run_in_subprocess
from bench.latency.engines import BASELINE, ENGINES, Engine, Pass, Subject
from bench.latency.random_models import pruned_models
from bench.models import get_model
from bench.results.timings import FAILED, TIMED, WRONG, Cell

Key = TypeVar("Key")
Row = dict[str, Any]
EngineConfig = tuple[str, float]  # engine and sparsity; the sparse engine at 0 is the control
FEWEST, MOST = 5, 200  # rounds
SHORT = 0.5  # seconds: a pass up to here is timed right after another one
DISTURBED = 0.2  # cores taken by others from which on times are not to be relied on
TOLERANCE = 1e-3  # of the largest output; single precision in another order differs by about 1e-6


def rotated(order: Sequence[Key], by: int) -> list[Key]:
    """Returns a sequence that starts so many places later and goes round."""
    by %= len(order)
    return [*order[by:], *order[:by]]


def interleave(
    passes: Mapping[Key, Pass], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[Key, list[float]]:
    """Times every pass once a round, in an order that is rotated from round to round.

    A short pass is timed right after another one: the caches then hold what it needs, as if it ran by itself.

    Args:
        passes: What to time; each has run before.
        seconds: That the rounds should take; there are at least FEWEST and at most MOST.
        clock: Returns seconds.

    Returns:
        {key: seconds of its pass, by round}.
    """
    times = defaultdict[Key, list[float]](list)
    short: dict[Key, bool] = {}

    def timed(key: Key) -> float:
        start = clock()
        passes[key]()
        return clock() - start

    gc.collect()
    gc.disable()
    try:
        began = clock()
        for number in range(MOST):
            if number >= FEWEST and (clock() - began) * (number + 1) / number > seconds:
                break
            for key in rotated(list(passes), number):
                taken = timed(key)
                if short.setdefault(key, taken <= SHORT):
                    taken = timed(key)
                times[key].append(taken)
    finally:
        gc.enable()
    return dict(times)


class OtherWork:
    """Watches what other processes take of the machine's cores, from its creation on."""

    def __init__(self) -> None:
        self.began, self.before = time.perf_counter(), self._seconds()

    @staticmethod
    def _seconds() -> float:
        """Returns the seconds that all cores have worked, or were taken from this machine, but for this process."""
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        kinds = ("user", "nice", "system", "irq", "softirq", "steal")  # user has guests in it
        return sum(getattr(machine, kind, 0.0) for kind in kinds) - own.user - own.system

    def cores(self) -> float:
        """Returns how many cores others kept busy on average."""
        return max(0.0, (self._seconds() - self.before) / (time.perf_counter() - self.began))


def deviation(outputs: Any, expected: Tensor) -> float:
    """Returns the largest difference to the expected outputs, relative to the largest of these; inf if not finite."""
    found = torch.as_tensor(outputs)
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf")
    return ((found - expected).abs().max() / expected.abs().max()).item()


def contenders(cell: Cell) -> list[EngineConfig]:
    """Returns what a cell sets against one another: the dense engines, the sparse one's control, the sparse one."""
    dense = [(name, 0.0) for name in cell.engines if ENGINES[name].dense]
    sparse = [(name, s) for name in cell.engines if not ENGINES[name].dense for s in (0.0, *cell.sparsities)]
    return [*dense, *sparse]


class Bench:
    """The pruned models of a cell and their input, for the engines; for a process of its own.

    Args:
        cell: What is measured; sets the threads of this process.
        sparsities: Those that are needed.
        folder: For files of engines; those of the cell that are there already are used.

    Attributes:
        spec: The model.
        models: {sparsity: (model, fraction of zeros in its prunable layers)}.
        example: (batch, channels, height, width).
    """

    def __init__(self, cell: Cell, sparsities: Sequence[float], folder: Path) -> None:
        torch.set_num_threads(cell.threads)
        self.cell, self.folder = cell, folder
        self.spec = get_model(cell.profile, cell.model)
        self.models = pruned_models(self.spec, sparsities, cell.seed)
        generator = torch.Generator().manual_seed(cell.seed)
        self.example = torch.randn(cell.batch, *self.spec.input_shape, generator=generator)

    def subject(self, contender: EngineConfig) -> Subject:
        """Returns what the engine of a contender is given."""
        engine, sparsity = contender
        control = not ENGINES[engine].dense and sparsity == 0
        return Subject(self.models[sparsity][0], self.example, self.cell.threads, self.folder, control)


def _check(row: Row, engine: Engine, subject: Subject, expected: Tensor) -> Pass | None:
    """Builds an engine, notes how that went, and returns its pass if the outputs are right."""
    try:
        engine.prepare(subject)
        begin = time.perf_counter()
        ready = engine.build(subject)
        row["build_seconds"] = time.perf_counter() - begin
        row |= {"layers_sparse": ready.layers_sparse, "layers_dense": ready.layers_dense}
        row["deviation"] = deviation(ready.run(), expected)
    except Exception as error:  # noqa: BLE001  whatever a third-party engine raises
        row |= {"status": FAILED, "error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
        return None
    if row["deviation"] > TOLERANCE:
        row |= {"status": WRONG, "error": f"outputs differ from {BASELINE}'s by {row['deviation']:.1g} of the largest"}
        return None
    row["status"] = TIMED
    return ready.run


def measure(cell: Cell, folder: Path) -> list[Row]:
    """Measures a cell; for a process of its own.

    Every engine's outputs are compared with eager's, of the same weights, before any time is taken. One that fails, or
    whose outputs differ, is reported and not timed.

    Args:
        cell: What to measure.
        folder: For files of engines.

    Returns:
        A row of `bench.results.timings.SCHEMA` for each contender, memory aside.
    """
    started = datetime.now(timezone.utc)
    bench = Bench(cell, (0.0, *cell.sparsities), folder)
    with torch.inference_mode():
        expected = {sparsity: model(bench.example) for sparsity, (model, _) in bench.models.items()}
    about = {
        "model": cell.model, "family": bench.spec.family, "timm_name": bench.spec.timm_name, "batch": cell.batch,
        "threads": cell.threads, "cell": cell.id, "commit": provenance.commit(), "dirty": provenance.dirty(),
        "versions": _versions(cell), "processor": provenance.processor(), "cores": os.cpu_count(),
        "started_at": started,
    }  # fmt: skip
    rows: dict[EngineConfig, Row] = {}
    passes: dict[EngineConfig, Pass] = {}
    for contender in contenders(cell):
        engine, sparsity = ENGINES[contender[0]], contender[1]
        row = rows[contender] = {
            **about, "engine": engine.name, "dense": engine.dense, "sparsity_target": sparsity,
            "sparsity_prunable": bench.models[sparsity][1],
        }  # fmt: skip
        if run := _check(row, engine, bench.subject(contender), expected[sparsity]):
            passes[contender] = run
    watch = OtherWork()
    times = interleave(passes, cell.seconds)
    others = watch.cores()
    for contender, seconds in times.items():
        rows[contender] |= {"seconds": seconds, "others": others}
    return list(rows.values())


def _versions(cell: Cell) -> str:
    """Returns the versions of Python and of what the cell's engines are made of, as JSON."""
    packages = sorted({package for name in cell.engines for package in ENGINES[name].packages})
    found = {package: importlib.metadata.version(package) for package in packages}
    return json.dumps({**json.loads(provenance.versions()), **found}, sort_keys=True)


def memory(cell: Cell, contender: EngineConfig, folder: Path) -> int | None:
    """Measures what an engine and one pass of it take; for a process of its own.

    Args:
        cell: What is measured.
        contender: The engine and the sparsity.
        folder: For files of engines.

    Returns:
        The growth of the resident memory in bytes, from before the engine is built to the most during its second pass:
        what building takes for a while does not count, nor does the model that it is built from. None where it cannot
        be measured.
    """
    bench = Bench(cell, (contender[1],), folder)
    engine, subject = ENGINES[contender[0]], bench.subject(contender)
    engine.prepare(subject)
    _give_back()
    before = psutil.Process().memory_info().rss
    ready = engine.build(subject)
    ready.run()
    _give_back()
    peak = start_peak(torch.device("cpu"))
    ready.run()
    most = peak()
    return None if most is None else most - before


def _give_back() -> None:
    """Returns memory that is free within this process to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):  # there is no such call outside glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def plan(
    profile: str,
    models: Sequence[str],
    sparsities: Sequence[float],
    batches: Sequence[int],
    threads: Sequence[int],
    engines: Sequence[str],
    seconds: float,
    memory_batches: Sequence[int],
) -> tuple[list[Cell], list[str]]:
    """Returns the cells to measure, and why engines that were asked for are left out.

    Args:
        profile: Of the models.
        models: Names of models in the profile.
        sparsities: Of the sparse engine, above 0 and below 1.
        batches: Images in a pass.
        threads: Of a pass.
        engines: Names of `bench.latency.engines.ENGINES`; eager is always measured.
        seconds: That the rounds of a cell should take.
        memory_batches: Of the batches those at which memory is measured, too.

    Raises:
        UserError: If a value is unknown or not valid.
    """
    for name in models:
        get_model(profile, name)
    if unknown := [name for name in engines if name not in ENGINES]:
        raise UserError(f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    cores = len(os.sched_getaffinity(0))
    if too_many := [number for number in threads if number > cores]:
        raise UserError(f"--threads {too_many[0]} is more than the {cores} cores that this process may use")
    if outside := [sparsity for sparsity in sparsities if not 0 < sparsity < 1]:
        raise UserError(f"--sparsity {outside[0]} is not valid: give numbers above 0 and below 1; 0 is always measured")
    if stray := sorted(set(memory_batches) - set(batches)):
        raise UserError(f"--memory {stray[0]} is none of --batch {' '.join(map(str, batches))}")
    reasons = {name: ENGINES[name].missing() for name in ENGINES if name in {BASELINE, *engines}}
    usable = tuple(name for name, reason in reasons.items() if reason is None)
    try:
        cells = [
            Cell(
                profile=profile, model=model, batch=batch, threads=number, engines=usable,
                sparsities=tuple(sorted(set(sparsities))), seconds=seconds, memory=batch in memory_batches,
            )
            for model, number, batch in itertools.product(*map(dict.fromkeys, (models, threads, batches)))
        ]  # fmt: skip
    except ValidationError as error:
        raise UserError(first_mistake(error)) from None
    return cells, [reason for reason in reasons.values() if reason is not None]


def run(cell: Cell) -> list[Row]:
    """Measures a cell in a fresh process, and the memory of each of its engines, if wanted, in one of its own.

    Raises:
        RuntimeError: If it cannot be measured at all.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            rows = run_in_subprocess(measure, cell, Path(folder))
            timed = [row for row in rows if cell.memory and row["status"] == TIMED]
            waiting = [
                pool.submit(run_in_subprocess, memory, cell, (row["engine"], row["sparsity_target"]), Path(folder))
                for row in timed
            ]
            for row, one in zip(timed, waiting, strict=True):
                row["memory_bytes"] = one.result()
        except BaseException:  # an interruption too must not wait for what is no longer wanted
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.kill()
            raise
    return rows
