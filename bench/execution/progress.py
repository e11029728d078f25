"""Progress of fits, on its way from a trial to whoever shows it."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from bench.trials.progress import FitProgress

SECONDS = 0.2  # between two messages: a step of a pruner may be much shorter than showing it

ShowProgress = Callable[[FitProgress], None]


class LimitedProgress:
    """A function that hands progress on now and then, and drops the rest.

    Args:
        show: Function that shows it.
        seconds: Shortest time between two reports, seconds.
    """

    def __init__(self, show: ShowProgress, seconds: float = SECONDS) -> None:
        self._show, self._seconds, self._next = show, seconds, 0.0

    def __call__(self, progress: FitProgress) -> None:
        """Shows how far a fit is, unless that was shown a moment ago."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            self._show(progress)


def limited(show: ShowProgress | None) -> ShowProgress | None:
    """Returns a function that shows progress at most every 0.2 seconds; None if none is to be shown."""
    return None if show is None else LimitedProgress(show)


def sender(connection: Connection) -> ShowProgress:
    """Returns a function that sends progress through a pipe, which it never waits for.

    What cannot be sent at once is dropped: the other end is busy, or gone. So is what another thread reports, which
    would write into the middle of this one's messages.
    """
    thread = threading.get_ident()

    def send(progress: FitProgress) -> None:
        if threading.get_ident() != thread:
            return
        with suppress(OSError, ValueError):  # the latter from `select` beyond 1,024 open files
            if select.select([], [connection], [], 0)[1]:
                connection.send(progress)

    return LimitedProgress(send)
