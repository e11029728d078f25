"""Runs trials: in this process, or in several processes that share the processor."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from bench.spec import Trial
from bench.store import Store

Report = Callable[[Trial, str, str | None], None]  # trial, status, error


def execute(trial: Trial, results: Path, device: str) -> tuple[str, str | None]:
    """Runs a trial and stores its rows; a failure is stored too, and stops no other trial.

    Returns:
        The trial's status and, if it failed, the error. The traceback is in `<trial id>.log` beside the rows.
    """
    from bench.trial import Rows, run_trial

    store = Store(results, trial.profile, trial.sweep)
    rows = Rows(trial, device)
    error = None
    try:
        run_trial(trial, rows, device)
    except Exception as raised:  # noqa: BLE001  whatever a third-party pruner raises
        error = f"{type(raised).__name__}: {raised}"
        rows.add(status="failed", error=error)
        store.log(trial.id).parent.mkdir(parents=True, exist_ok=True)
        store.log(trial.id).write_text(traceback.format_exc())
    store.write(trial.id, rows.rows, rows.layer_rows)
    return ("failed", error) if error else (store.status(trial.id) or "done", None)


def _start_worker(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def run(trials: Sequence[Trial], results: Path, jobs: int, device: str, report: Report) -> None:
    """Runs trials in parallel processes and reports each as it ends.

    Args:
        trials: What to run.
        results: Folder of all results.
        jobs: Processes; each gets an equal share of the processor's cores. With 1 all runs in this process.
        device: The torch device that all of them use.
        report: Called in this process after each trial.
    """
    jobs = max(1, min(jobs, len(trials)))
    if jobs == 1:
        for trial in trials:
            report(trial, *execute(trial, results, device))
        return
    left = list(trials)
    while left:
        unfinished = _run_pool(left, results, jobs, device, report)
        if unfinished and jobs == 1:  # alone in its process: this trial is what killed it
            report(unfinished.pop(0), "failed", "its process was killed, for want of memory perhaps")
        left, jobs = unfinished, 1


def _run_pool(trials: list[Trial], results: Path, jobs: int, device: str, report: Report) -> list[Trial]:
    """Runs trials until all are done or a worker dies, and returns those that are left."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    environment = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by each worker's libraries when they load
    # Ctrl-C reaches every process of the terminal; workers inherit that it is for this one alone to handle
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (int(threads),))
    try:
        futures = {pool.submit(execute, trial, results, device): trial for trial in trials}
    finally:
        signal.signal(signal.SIGINT, handler)
        if environment is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = environment
    left = list(trials)
    try:
        for future in as_completed(futures):
            try:
                status, error = future.result()
            except BrokenProcessPool:
                continue  # this one is left; others may have ended before
            except Exception as raised:  # noqa: BLE001  a disk that is full, say
                status, error = "failed", f"{type(raised).__name__}: {raised}"
            left.remove(futures[future])
            report(futures[future], status, error)
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
    return left
