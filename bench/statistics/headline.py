"""Sparsity at a relative drop: the number that stands for a pruner on a model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bench.statistics.estimate import CONFIDENCE, Estimate
from bench.statistics.outcomes import DROP_LIMIT


@dataclass(frozen=True)
class Crossing:
    """The sparsity at which a curve of drops first exceeds a limit.

    Attributes:
        sparsity: Fraction of zeros.
        beyond: Whether no measured sparsity exceeds the limit; `sparsity` is then the largest measured.
    """

    sparsity: float
    beyond: bool = False

    def __str__(self) -> str:
        return f"{'at least ' if self.beyond else ''}{100 * self.sparsity:.1f} %"


@dataclass(frozen=True)
class Headline:
    """Sparsity at a relative drop, with its confidence interval.

    Attributes:
        at: Crossing of the estimated drops.
        low: Lower end: crossing of the upper ends of the drops' intervals.
        high: Upper end: crossing of the lower ends.
    """

    at: Crossing
    low: Crossing
    high: Crossing

    def __str__(self) -> str:
        return f"{self.at} ({self.low} to {self.high})"


def first_crossing(sparsities: Sequence[float], drops: Sequence[float], limit: float = DROP_LIMIT) -> Crossing:
    """Returns where the drop first exceeds a limit, linear between measured sparsities and from no drop at 0.

    Args:
        sparsities: Fractions of zeros, increasing, above 0.
        drops: Drop at each, percent.
        limit: Limit of the drop, percent, above 0.

    Raises:
        ValueError: If the sparsities do not increase.
    """
    points = [(0.0, 0.0), *zip(sparsities, drops, strict=True)]
    for (left, before), (right, after) in itertools.pairwise(points):
        if right <= left:
            raise ValueError(f"sparsities must increase from above 0, but {right:g} follows {left:g}")
        if after > limit:
            return Crossing(left + (right - left) * (limit - before) / (after - before))
    return Crossing(points[-1][0], beyond=True)


def sparsity_at_drop(
    sparsities: Sequence[float],
    drops: Sequence[Estimate],
    limit: float = DROP_LIMIT,
    confidence: float = CONFIDENCE,
) -> Headline:
    """Returns the sparsity at a relative drop; its interval inverts the test of the drop at every sparsity.

    Args:
        sparsities: Fractions of zeros, increasing, above 0.
        drops: Drop at each, percent.
        limit: Limit of the drop, percent.
        confidence: Confidence of the intervals.

    Raises:
        ValueError: If the sparsities do not increase, or a drop has no interval.
    """
    ends = [one.interval(confidence) for one in drops]
    if any(low != low for low, _ in ends):
        raise ValueError("a drop of one unit has no interval: at least two dense seeds are needed")
    return Headline(
        first_crossing(sparsities, [one.value for one in drops], limit),
        first_crossing(sparsities, [high for _, high in ends], limit),
        first_crossing(sparsities, [low for low, _ in ends], limit),
    )
