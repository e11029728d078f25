"""Schedules of the learning rate and the sparsity during training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Returns the value at `step` of a straight line from `start` at step 0 to `end` at the last step."""
    return start + (end - start) * step / max(1, steps - 1)


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Returns the value at `step` of half a cosine from `start` at step 0 to `end` at the last step."""
    return end + (start - end) * (1 + math.cos(math.pi * step / max(1, steps - 1))) / 2


def sawtooth(step: int, period: int, start: float, end: float) -> float:
    """Returns the value at `step` of straight lines from `start` to `end`, one after the other.

    Args:
        step: Number of the step, from 0.
        period: Number of steps in each line.
        start: First value of each line.
        end: Last value of each line.
    """
    return linear(step % period, period, start, end)


def warmed_up(step: int, warmup: int, peak: float, schedule: Callable[[int], float]) -> float:
    """Returns the value at `step` of a straight rise to `peak` and a schedule that begins after it.

    Args:
        step: Number of the step, from 0.
        warmup: Number of steps of the rise; 0 for the schedule alone.
        peak: Value that the rise would reach at step `warmup`.
        schedule: Function of the number of steps since the rise.
    """
    return peak * (step + 1) / (warmup + 1) if step < warmup else schedule(step - warmup)


@dataclass(frozen=True)
class Ramp:
    """Sparsity over epochs.

    Attributes:
        knots: Pairs of (epoch, sparsity), both increasing.
        kind: Shape: `linear` between neighbouring knots; `cubic` from the first knot s_0 at e_0 to the last s_1 at e_1:
            `s_1 + (s_0 - s_1) (1 - t)^3` with `t = (e - e_0) / (e_1 - e_0)` (Zhu and Gupta, 2017, arXiv 1710.01878).
    """

    knots: tuple[tuple[int, float], ...]
    kind: str = "linear"

    def __post_init__(self) -> None:
        if not self.knots or not all(0 < sparsity < 1 and epoch >= 0 for epoch, sparsity in self.knots):
            raise ValueError(f"knots {self.knots} are not valid: give (epoch, sparsity) with 0 < sparsity < 1")
        if any(e >= later or s > more for (e, s), (later, more) in itertools.pairwise(self.knots)):
            raise ValueError(f"knots {self.knots} are not valid: epochs must rise, and sparsities must not fall")
        if self.kind not in ("linear", "cubic"):
            raise ValueError(f"unknown ramp {self.kind!r}: choose linear or cubic")
        if self.kind == "cubic" and len(self.knots) != 2:
            raise ValueError(f"a cubic ramp has two knots, not {len(self.knots)}")

    def at(self, epoch: int) -> float:
        """Returns the sparsity at an epoch; before the first knot it is that of the first, after the last likewise."""
        (first, low), (last, high) = self.knots[0], self.knots[-1]
        if epoch <= first:
            return low
        if epoch >= last:
            return high
        if self.kind == "cubic":
            return high + (low - high) * (1 - (epoch - first) / (last - first)) ** 3
        for (start, lower), (end, upper) in itertools.pairwise(self.knots):
            if epoch <= end:
                return lower + (upper - lower) * (epoch - start) / (end - start)
        raise AssertionError("the knots cover every epoch between the first and the last")

    def steps(self, period: int) -> dict[int, float]:
        """Returns the pruning steps {epoch: sparsity}: at the first knot, then every `period` epochs to the last.

        Sparsities are rounded to six decimals, so that 75 + 15 / 3 is 80 %.

        Raises:
            ValueError: If the last knot is not at a step.
        """
        first, last = self.knots[0][0], self.knots[-1][0]
        if (last - first) % period:
            raise ValueError(f"the ramp takes {last - first} epochs, no multiple of the period of {period}")
        return {epoch: round(self.at(epoch), 6) for epoch in range(first, last + 1, period)}
