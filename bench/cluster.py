"""Runs trials: in this process, or in several processes that share the processor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from bench.spec import Trial
from bench.store import Store

Report = Callable[[Trial, str, str | None], None]  # trial, status, error


def execute(trial: Trial, results: Path, device: str) -> tuple[str, str | None]:
    """Runs a trial and stores its rows; a failure is stored too, and stops no other trial.

    Returns:
        The trial's status and, if it failed, the error.
    """
    from bench.trial import failed_rows, run_trial

    try:
        rows = run_trial(trial, device)
    except Exception as error:  # noqa: BLE001  whatever a third-party pruner raises
        rows = failed_rows(trial, error, device)
    store = Store(results, trial.profile, trial.sweep)
    store.write(trial.id, rows.rows, rows.layer_rows)
    return store.status(trial.id) or "done", store.error(trial.id)


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
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by each worker's libraries when they load
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (threads,))
    try:
        # Ctrl-C reaches every process of the terminal; workers inherit that it is for this one alone to handle
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        futures = {pool.submit(execute, trial, results, device): trial for trial in trials}
        signal.signal(signal.SIGINT, handler)
        for future in as_completed(futures):
            error = future.exception()
            report(futures[future], *(("failed", f"{type(error).__name__}: {error}") if error else future.result()))
    except BaseException:
        for process in list((pool._processes or {}).values()):  # what is half done is not kept: do not wait for it
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
