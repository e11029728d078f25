"""What layers cost: timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def interleaved(calls: Sequence[Callable[[], object]], seconds: float, least: int = 5, most: int = 50) -> list[float]:
    """Times calls in turn, so that what else goes on in the machine hits all of them alike.

    Args:
        calls: What to time; each is called once before, to warm up.
        seconds: How long all of it may take, but for the least rounds.
        least: Rounds at least.
        most: Rounds at most.

    Returns:
        The median seconds of each.
    """
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    for done in range(most):
        if done >= least and time.perf_counter() > end:
            break
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]
