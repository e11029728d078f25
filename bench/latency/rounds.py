"""Rounds in which passes are timed in turn, and the load that other processes put on the machine meanwhile."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import psutil

from bench.latency.engines import ForwardPass

Key = TypeVar("Key")
FEWEST, MOST = 5, 200  # rounds
SHORT = 0.5  # seconds: a pass up to here is timed right after another one


def rotate(order: Sequence[Key], by: int) -> list[Key]:
    """Returns a sequence that starts so many places later and goes round."""
    by %= len(order)
    return [*order[by:], *order[:by]]


def interleave(
    passes: Mapping[Key, ForwardPass], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[Key, list[float]]:
    """Times every pass once a round, in an order that is rotated from round to round.

    A short pass is timed right after another one: the caches then hold what it needs, as if it ran by itself.

    Args:
        passes: Passes to time; each has run before.
        seconds: Time that the rounds should take, seconds; there are at least FEWEST and at most MOST.
        clock: Function that returns seconds.

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
            for key in rotate(list(passes), number):
                taken = timed(key)
                if short.setdefault(key, taken <= SHORT):
                    taken = timed(key)
                times[key].append(taken)
    finally:
        gc.enable()
    return dict(times)


class OtherLoad:
    """Load that other processes put on the machine's cores, from the creation of this object on."""

    def __init__(self) -> None:
        self._began, self._before = time.perf_counter(), self._cpu_seconds()

    @staticmethod
    def _cpu_seconds() -> float:
        """Returns the seconds that all cores have worked, or were taken from this machine, but for this process."""
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        kinds = ("user", "nice", "system", "irq", "softirq", "steal")  # user has guests in it
        return sum(getattr(machine, kind, 0.0) for kind in kinds) - own.user - own.system

    def cores(self) -> float:
        """Returns how many cores others kept busy on average."""
        return max(0.0, (self._cpu_seconds() - self._before) / (time.perf_counter() - self._began))
