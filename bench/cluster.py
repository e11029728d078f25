"""Runs trials: in this process, or in several processes that share the processor."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from bench.spec import Trial
from bench.store import Store

Report = Callable[[Trial, str, str | None], None]  # trial, status, error


@dataclass(frozen=True)
class Resources:
    """What the trials may use.

    Attributes:
        jobs: Parallel processes; each gets an equal share of the processor's cores.
        device: The torch device that all of them use.
        memory_budget: Bytes that a fit may take; None for what the device has free less a margin.
    """

    jobs: int = 1
    device: str = "cpu"
    memory_budget: int | None = None


def grouped(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Brings together the trials that can share what is computed on the calibration images."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return list(groups.values())


def execute(trial: Trial, results: Path, resources: Resources, share: bool) -> tuple[str, str | None]:
    """Runs a trial and stores its rows; a failure is stored too, and stops no other trial.

    Returns:
        The trial's status and, if it failed, the error. The traceback is in `<trial id>.log` beside the rows.
    """
    from bench.trial import Rows, run_trial

    store = Store(results, trial.profile, trial.sweep)
    rows = Rows(trial, resources.device)
    error = None
    try:
        run_trial(trial, rows, resources.device, resources.memory_budget, share)
    except Exception as raised:  # noqa: BLE001  whatever a third-party pruner raises
        error = f"{type(raised).__name__}: {raised}"
        rows.add(status="failed", error=error)
        store.log(trial.id).parent.mkdir(parents=True, exist_ok=True)
        store.log(trial.id).write_text(traceback.format_exc())
    store.write(trial.id, rows.rows, rows.layer_rows)
    return ("failed", error) if error else (store.status(trial.id) or "done", None)


def execute_group(group: Sequence[Trial], results: Path, resources: Resources, report: Report) -> None:
    """Runs the trials of a group one after another, so that they share what they can."""
    for trial in group:
        try:
            report(trial, *execute(trial, results, resources, share=len(group) > 1))
        except Exception as raised:  # noqa: BLE001  a disk that is full, say
            report(trial, "failed", f"{type(raised).__name__}: {raised}")


_ended: SimpleQueue[tuple[str, str, str | None]]


def _start_worker(threads: int, ended: SimpleQueue[tuple[str, str, str | None]]) -> None:
    import torch

    global _ended
    _ended = ended
    torch.set_num_threads(threads)


def _work(group: Sequence[Trial], results: Path, resources: Resources) -> None:
    execute_group(group, results, resources, lambda trial, status, error: _ended.put((trial.id, status, error)))


def run(trials: Sequence[Trial], results: Path, resources: Resources, report: Report) -> None:
    """Runs trials in parallel processes, those of a group in the same one, and reports each as it ends.

    Args:
        trials: What to run.
        results: Folder of all results.
        resources: What they may use; with one job all runs in this process.
        report: Called in this process after each trial.
    """
    groups = grouped(trials)
    resources = replace(resources, jobs=max(1, min(resources.jobs, len(groups))))
    if resources.jobs == 1:
        for group in groups:
            execute_group(group, results, resources, report)
        return
    left = [trial for group in groups for trial in group]
    while left:
        unfinished = _run_pool(left, results, resources, report)
        if unfinished and resources.jobs == 1:  # alone in its process: this trial is what killed it
            report(unfinished.pop(0), "failed", "its process was killed, for want of memory perhaps")
        left, resources = unfinished, replace(resources, jobs=1)


def _run_pool(trials: list[Trial], results: Path, resources: Resources, report: Report) -> list[Trial]:
    """Runs trials until all are done or a worker dies, and returns those that are left."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // resources.jobs))
    environment = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by each worker's libraries when they load
    # Ctrl-C reaches every process of the terminal; workers inherit that it is for this one alone to handle
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = get_context("spawn")
    ended = context.SimpleQueue()
    pool = ProcessPoolExecutor(resources.jobs, context, _start_worker, (int(threads), ended))
    try:
        running = {pool.submit(_work, group, results, resources) for group in grouped(trials)}
    finally:
        signal.signal(signal.SIGINT, handler)
        if environment is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = environment
    left = {trial.id: trial for trial in trials}

    def report_ended() -> None:
        while not ended.empty():
            trial_id, status, error = ended.get()
            report(left.pop(trial_id), status, error)

    try:
        while running:
            _, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            report_ended()
        report_ended()
    except BaseException:
        workers = dict(pool._processes or {})
        for process in workers.values():  # what is half done is not kept: do not wait for it
            process.terminate()
        for pid, process in workers.items():
            process.join()
            Store(results, trials[0].profile, trials[0].sweep).discard_unfinished(pid)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return list(left.values())
