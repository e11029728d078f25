"""Cost of fits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitCost:
    """Cost of fits and of reading off pruned weights; `+` gives that of one after the other.

    Attributes:
        fit_seconds: Time of the fits, as if they had shared nothing, seconds.
        shared_seconds: Part of it that another trial of the group spent, seconds.
        prune_seconds: Time of reading off the weights, seconds.
        peak_bytes: Largest peak memory; None where it was not measured.
        num_gradients: Gradients of the last fit; None for a pruner without.
    """

    fit_seconds: float = 0.0
    shared_seconds: float = 0.0
    prune_seconds: float = 0.0
    peak_bytes: int | None = None
    num_gradients: int | None = None

    def __add__(self, other: FitCost) -> FitCost:
        peaks = [peak for peak in (self.peak_bytes, other.peak_bytes) if peak is not None]
        return FitCost(
            self.fit_seconds + other.fit_seconds,
            self.shared_seconds + other.shared_seconds,
            self.prune_seconds + other.prune_seconds,
            max(peaks, default=None),
            other.num_gradients,
        )
