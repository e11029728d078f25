"""Estimates with standard errors: intervals and one-sided p-values by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """An estimate and how far it is to be trusted.

    Attributes:
        value: Estimate.
        error: Standard error; NaN where there is one unit alone.
        degrees: Degrees of freedom of Student's t, infinite for a normal distribution; NaN where `error` is.
        units: Number of units, dense seeds as a rule.
        image_variance: Part of `error` squared that more units would not lower, that of the test images.
    """

    value: float
    error: float
    degrees: float
    units: int
    image_variance: float = 0.0

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Returns the two ends of the confidence interval; NaN where there is one unit alone."""
        if math.isnan(self.error) or self.error == 0:
            return (self.value + self.error,) * 2
        margin = self.error * float(stats.t.ppf((1 + confidence) / 2, self.degrees))
        return self.value - margin, self.value + margin

    def p_at_least(self, threshold: float) -> float:
        """Returns the p-value of the hypothesis that the quantity is at least a threshold: small if it is lower."""
        return self._p_value(threshold - self.value)

    def p_at_most(self, threshold: float) -> float:
        """Returns the p-value of the hypothesis that the quantity is at most a threshold: small if it is higher."""
        return self._p_value(self.value - threshold)

    def p_two_sided(self, threshold: float = 0.0) -> float:
        """Returns the p-value of the hypothesis that the quantity is a threshold."""
        return min(1.0, 2 * self._p_value(abs(self.value - threshold)))

    def _p_value(self, distance: float) -> float:
        if math.isnan(self.error):
            return 1.0  # nothing is shown
        if self.error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stats.t.sf(distance / self.error, self.degrees))


def mean_of_units(values: Sequence[float] | np.ndarray) -> Estimate:
    """Returns the mean of one value a unit (Student, 1908, Biometrika 6, 1-25).

    Args:
        values: Values, (n,), at least one.
    """
    found = np.asarray(values, float)
    if len(found) == 1:
        return Estimate(float(found[0]), math.nan, math.nan, 1)
    if (found == found[0]).all():
        return Estimate(float(found[0]), 0.0, len(found) - 1, len(found))
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    return Estimate(float(found.mean()), error, len(found) - 1, len(found))
