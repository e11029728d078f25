"""Runs trials: in this process, or in several processes that share the processor."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from bench.results.store import FINISHED, Store
from bench.specs.trial import Trial

Report = Callable[[Trial, str, str | None], None]  # trial, status, error


@dataclass(frozen=True)
class Resources:
    """What the trials may use.

    Attributes:
        jobs: Parallel processes; each gets an equal share of the processor's cores.
        device: The torch device that all of them use.
        memory_budget: Bytes that a fit may take; None for what the device has free less a margin.
        micro_batch: Training images that each process has in one forward pass; None for its share of a whole batch.
        leaving: Says whether this process is about to be ended by its cluster; what is raised then is no failure.
    """

    jobs: int = 1
    device: str = "cpu"
    memory_budget: int | None = None
    micro_batch: int | None = None
    leaving: Callable[[], bool] | None = None


def group_by_calibration(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Brings together the trials that can share what is computed on the calibration images."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return list(groups.values())


def execute(trial: Trial, results: Path, resources: Resources, share: bool) -> tuple[str, str | None]:
    """Runs a trial and stores its rows; a failure is stored too, and stops no other trial.

    Processes that work together all call this; process 0 alone writes. If another job is at the trial, it is waited
    for, and what it has done is not done again.

    Returns:
        The trial's status and, if it failed, the error. The traceback is in `<trial id>.log` beside the rows.
    """
    from bench.core import distributed

    store = Store(results, trial.profile, trial.sweep)
    with store.lock(trial.id) if distributed.is_main() else nullcontext():
        if (status := distributed.run_on_rank0(lambda: store.status(trial.id))) in FINISHED:
            return status, None
        return _execute(trial, store, resources, share)


def _execute(trial: Trial, store: Store, resources: Resources, share: bool) -> tuple[str, str | None]:
    from bench.core import distributed
    from bench.trials.checkpoint import Checkpoint
    from bench.trials.runner import TrialRecorder, run_trial

    rows = TrialRecorder(trial, resources.device)
    folder = store.folder / trial.id
    failure: tuple[str, str] | None = None  # error, traceback
    try:
        run_trial(trial, rows, resources.device, resources.memory_budget, share, folder, resources.micro_batch)
    except Exception as raised:
        if resources.leaving is not None and resources.leaving():
            raise
        failure = f"{type(raised).__name__}: {raised}", traceback.format_exc()
    failure = distributed.first_failure(failure)

    def write() -> tuple[str, str | None]:
        log = store.log(trial.id)
        if failure is not None:
            error, trace = failure
            rows.add(status="failed", error=error)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(trace)
        store.write(trial.id, rows.rows, rows.layer_rows)
        if failure is not None:
            return "failed", error
        log.unlink(missing_ok=True)
        Checkpoint(folder / "checkpoint").remove()
        return store.status(trial.id) or "done", None

    return distributed.run_on_rank0(write)


def execute_group(
    group: Sequence[Trial],
    results: Path,
    resources: Resources,
    report: Report,
    begin: Callable[[Trial], None] = lambda _: None,
) -> None:
    """Runs the trials of a group one after another, so that they share what they can; `begin` is called before each."""
    from bench.core.distributed import LostProcessError
    from bench.trials.runner import load_calibration

    for trial in group:
        begin(trial)
        try:
            status, error = execute(trial, results, resources, share=len(group) > 1)
        except LostProcessError:
            raise
        except Exception as raised:
            if resources.leaving is not None and resources.leaving():
                raise
            status, error = "failed", f"{type(raised).__name__}: {raised}"
        report(trial, status, error)
    load_calibration.cache_clear()


Ended = tuple[int, str, str | None]  # a trial's position among all, its status, its error
_ended: SimpleQueue[Ended]


def _start_worker(threads: int, ended: SimpleQueue[Ended]) -> None:
    import torch

    global _ended
    _ended = ended
    torch.set_num_threads(threads)


def _work(positions: dict[int, Trial], results: Path, resources: Resources) -> None:
    """Runs a group in a worker process."""
    left = iter(positions)
    execute_group(
        list(positions.values()), results, resources, lambda _, status, error: _ended.put((next(left), status, error))
    )


def run(trials: Sequence[Trial], results: Path, resources: Resources, report: Report) -> None:
    """Runs trials in parallel processes, those of a group in the same one, and reports each as it ends.

    Args:
        trials: What to run.
        results: Folder of all results.
        resources: What they may use; with one job all runs in this process.
        report: Called in this process after each trial.
    """
    groups = group_by_calibration(trials)
    resources = replace(resources, jobs=max(1, min(resources.jobs, len(groups))))
    if resources.jobs == 1:
        for group in groups:
            execute_group(group, results, resources, report)
        return
    left = [trial for group in groups for trial in group]
    while left:
        left, died = _run_pool(left, results, resources, report)
        if died and left and resources.jobs == 1:  # alone in its process: this trial is what killed it
            report(left.pop(0), "failed", "its process was killed, for want of memory perhaps")
        resources = replace(resources, jobs=1)


def _run_pool(trials: list[Trial], results: Path, resources: Resources, report: Report) -> tuple[list[Trial], bool]:
    """Runs trials until all are done or a worker dies, and returns those that are left, and whether one died."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // resources.jobs))
    environment = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = threads  # read by each worker's libraries when they load
    # Ctrl-C reaches every process of the terminal; workers inherit that it is for this one alone to handle
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = get_context("spawn")
    ended: SimpleQueue[Ended] = context.SimpleQueue()
    pool = ProcessPoolExecutor(resources.jobs, context, _start_worker, (int(threads), ended))
    left = dict(enumerate(trials))
    of_group: dict[str, dict[int, Trial]] = {}
    for position, trial in left.items():
        of_group.setdefault(trial.group, {})[position] = trial
    try:
        groups = {pool.submit(_work, group, results, resources): group for group in of_group.values()}
    finally:
        signal.signal(signal.SIGINT, handler)
        if environment is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = environment
    died = False

    def report_ended() -> None:
        while not ended.empty():
            position, status, error = ended.get()
            report(left.pop(position), status, error)

    try:
        running = set(groups)
        while running:
            done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            report_ended()
            for future in done:
                raised = future.exception()
                died |= isinstance(raised, BrokenProcessPool)
                if raised is not None and not isinstance(
                    raised, BrokenProcessPool
                ):  # a pruner that calls sys.exit, say
                    for position in [position for position in groups[future] if position in left][:1]:
                        report(left.pop(position), "failed", f"{type(raised).__name__}: {raised}")
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
    report_ended()
    return list(left.values()), died
