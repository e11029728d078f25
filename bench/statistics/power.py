"""Number of units that an undecided comparison needs."""

from __future__ import annotations

import math

from scipy import stats

from bench.statistics.estimate import Estimate
from bench.statistics.outcomes import LEVEL

POWER = 0.8
MOST_UNITS = 10_000


def power_of(estimate: Estimate, units: int, threshold: float = 0.0, level: float = LEVEL) -> float:
    """Returns the chance that so many units show the estimated distance from a threshold, two-sided.

    By the non-central t distribution (Cohen, 1988, Statistical Power Analysis, 2.2); the variance of images stays, that
    of units falls with their number, and the degrees of freedom are Satterthwaite's for their sum.

    Args:
        estimate: Estimate with a standard error.
        units: Number of units, at least 2.
        threshold: Value that it is tested against.
        level: Level of the test.
    """
    of_units = _unit_variance(estimate) / units
    total = of_units + estimate.image_variance
    distance = abs(estimate.value - threshold)
    if total == 0:
        return float(distance > 0)
    degrees = total**2 / (of_units**2 / (units - 1)) if of_units else math.inf
    shift, critical = distance / math.sqrt(total), float(stats.t.ppf(1 - level / 2, degrees))
    if degrees > 1e6 or shift > critical + 6:  # scipy's non-central t is no number far out
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    return float(stats.nct.sf(critical, degrees, shift) + stats.nct.sf(critical, degrees, -shift))


def units_to_decide(
    estimate: Estimate, threshold: float = 0.0, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Returns how many units would show a distance from a threshold as large as the estimated one.

    Args:
        estimate: Estimate.
        threshold: Value that it is tested against.
        level: Level of the test, two-sided.
        power: Chance of showing it.

    Returns:
        The smallest number, at least 2; None where not even MOST_UNITS would do, or one unit gives no variance.
    """
    if math.isnan(estimate.error) or power_of(estimate, MOST_UNITS, threshold, level) < power:
        return None
    low, high = 1, MOST_UNITS  # high suffices, low does not, or is too few
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(estimate, middle, threshold, level) >= power:
            high = middle
        else:
            low = middle
    return high


def _unit_variance(estimate: Estimate) -> float:
    """Returns the variance that one unit would have."""
    return max(0.0, estimate.error**2 - estimate.image_variance) * estimate.units
