"""Execution in several processes that share the processor."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from bench.execution.executor import FinishedTrial, balanced_groups
from bench.execution.progress import sender
from bench.results.store import Store
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.progress import FitProgress

if TYPE_CHECKING:
    from bench.trials.session import TrialSession


END_SECONDS = 10.0  # that a process may take to end once its pipe is closed


@dataclass(frozen=True)
class PoolExecutor:
    """An executor that runs trials in parallel processes, as far as it goes those of a group in the same one.

    A trial whose process dies is put aside and tried once more by itself after all others: a neighbour may have
    taken the memory. If its process dies again, the trial has failed.

    Attributes:
        results: Folder of all results.
        config: Settings of the execution; the memory budget is that of each process.
        processes: Number of parallel processes; each gets an equal share of the processor's cores.
    """

    results: Path
    config: ExecutionConfig
    processes: int

    def run(self, trials: Sequence[Trial]) -> Generator[FinishedTrial]:
        """Runs trials and yields each as soon as it has ended; closing the generator ends all processes."""
        interrupted = yield from self._run_groups(balanced_groups(trials, self.processes), self.processes)
        for trial, _ in interrupted:
            for _, reason in (yield from self._run_groups([[trial]], 1)):
                yield FinishedTrial(trial, "failed", reason)

    def _run_groups(
        self, groups: Sequence[Sequence[Trial]], processes: int
    ) -> Generator[FinishedTrial, None, list[tuple[Trial, str]]]:
        """Runs groups of trials, and returns the trials whose process died while it was at them, and how it ended."""
        waiting, interrupted, workers = deque(groups), list[tuple[Trial, str]](), list[_Worker]()
        threads = max(1, len(os.sched_getaffinity(0)) // max(1, min(processes, len(groups))))

        def stop() -> None:
            for worker in workers:
                worker.stop()

        atexit.register(stop)  # else a generator that nobody closes holds up the end of the interpreter
        try:
            while waiting or workers:
                while waiting and len(workers) < processes:
                    workers.append(_Worker(self.results, self.config, threads))
                    workers[-1].send(waiting.popleft())
                ready = wait([worker.connection for worker in workers])
                for worker in [worker for worker in workers if worker.connection in ready]:
                    received = worker.receive()
                    if isinstance(received, FitProgress):
                        if self.config.on_progress is not None:
                            self.config.on_progress(received)
                        continue
                    if received is not None:
                        yield received
                        if not worker.left and waiting:
                            worker.send(waiting.popleft())
                    else:
                        interrupted.append((worker.left.popleft(), worker.cause_of_death()))
                        if worker.left:
                            waiting.appendleft(list(worker.left))
                            worker.left.clear()
                    if not worker.left:
                        workers.remove(worker)
                        worker.end()
        finally:
            atexit.unregister(stop)
            stop()
            for worker in workers:
                worker.end()
        return interrupted


class _Worker:
    """A spawned process that runs the groups of trials it is sent, and reports each trial as it ends.

    Args:
        results: Folder of all results.
        config: Settings of the execution.
        threads: Number of the processor's cores that it uses.

    Attributes:
        connection: Channel to the process.
        left: Trials that it was sent and has not reported, in order: it is at the first one.
        sweeps: Profiles and sweeps of all trials that it was sent.
    """

    def __init__(self, results: Path, config: ExecutionConfig, threads: int) -> None:
        context = get_context("spawn")
        self.results = results
        self.left: deque[Trial] = deque()
        self.sweeps: set[tuple[str, str]] = set()
        self.connection, other_end = context.Pipe()
        # no daemon: data loaders start processes of their own
        shows, config = config.on_progress is not None, replace(config, on_progress=None)  # which cannot be sent
        self.process = context.Process(target=_serve, args=(other_end, results, config, threads, shows))
        with _inherited(threads):
            self.process.start()
        other_end.close()  # or its end would not be seen here

    def send(self, group: Sequence[Trial]) -> None:
        """Gives the process a group of trials to run."""
        self.left.extend(group)
        self.sweeps.update((trial.profile, trial.sweep) for trial in group)
        with suppress(OSError):  # it has died: `receive` will tell
            self.connection.send(list(group))

    def receive(self) -> FinishedTrial | FitProgress | None:
        """Returns the trial that has ended, or how far its fit is, or None if the process has ended."""
        try:
            received = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(received, FinishedTrial):
            self.left.popleft()
        return received

    def cause_of_death(self) -> str:
        """Returns how the process ended, in words, once it has."""
        self.process.join(END_SECONDS)
        self.stop()
        if self.process.exitcode == -signal.SIGKILL:
            return "its process was killed, perhaps because memory ran out"
        return f"its process ended with exit code {self.process.exitcode}"

    def stop(self) -> None:
        """Interrupts what the process does: what is half done is not kept."""
        self.process.terminate()

    def end(self) -> None:
        """Waits for the end of the process, and removes what it had half written."""
        self.connection.close()
        self.process.join()
        assert self.process.pid is not None
        for profile, sweep in self.sweeps:
            Store(self.results, profile, sweep).discard_unfinished(self.process.pid)


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Sets what processes inherit that are started within: number of threads, and to leave Ctrl-C to this process."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by each worker's libraries when they load
    in_main_thread = threading.current_thread() is threading.main_thread()  # others cannot set handlers
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _serve(connection: Connection, results: Path, config: ExecutionConfig, threads: int, shows: bool) -> None:
    """Runs in a worker: each group that is sent, until the other end is closed; it sends how far it is if `shows`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    import torch

    from bench.trials.session import TrialSession

    torch.set_num_threads(threads)
    session = TrialSession(config.device)
    config = replace(config, on_progress=sender(connection) if shows else None)
    with suppress(EOFError, BrokenPipeError):
        while True:
            _run_sent_group(connection, deque(connection.recv()), results, config, session)


def _run_sent_group(
    connection: Connection, left: deque[Trial], results: Path, config: ExecutionConfig, session: TrialSession
) -> None:
    from bench.execution.worker import run_group

    while left:
        try:
            for finished in run_group(list(left), results, config, session=session):
                left.popleft()
                connection.send(finished)
        except OSError:
            raise
        except BaseException as raised:  # noqa: BLE001  whatever it is: the others go on
            connection.send(FinishedTrial(left.popleft(), "failed", f"{type(raised).__name__}: {raised}"))


def _exit_with_parent() -> None:
    """Ends this process at once when the one that started it is gone."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
