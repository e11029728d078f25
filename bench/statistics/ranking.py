"""Mean ranks over many cells, and the difference between two that is more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.statistics.outcomes import LEVEL


@dataclass(frozen=True)
class Ranking:
    """Ranks of methods over cells (Demsar, 2006, JMLR 7, 1-30).

    Attributes:
        mean_ranks: Mean rank of each method, 1 for the best, (methods,).
        statistic: Friedman's statistic.
        p_value: Its p-value, by Iman and Davenport's F.
        critical_difference: Difference of mean ranks from which on two methods differ, by Nemenyi's test.
        groups: Indices of methods no two of which differ, best first; a group within another is left out, as is one
            method alone.
    """

    mean_ranks: np.ndarray
    statistic: float
    p_value: float
    critical_difference: float
    groups: tuple[tuple[int, ...], ...]


def critical_difference(methods: int, cells: int, level: float = LEVEL) -> float:
    """Returns Nemenyi's critical difference: q sqrt(k (k + 1) / (6 N)), q the studentised range over sqrt(2).

    Args:
        methods: Number k of methods, at least 2.
        cells: Number N of cells.
        level: Chance that any two of equal methods differ.
    """
    q = float(stats.studentized_range.ppf(1 - level, methods, np.inf)) / np.sqrt(2)
    return q * float(np.sqrt(methods * (methods + 1) / (6 * cells)))


def rank_methods(scores: np.ndarray, level: float = LEVEL) -> Ranking:
    """Returns the ranks of methods over cells; equal scores share the mean of their ranks.

    Args:
        scores: Scores, the higher the better, (cells, methods).
        level: Chance that any two of equal methods differ.

    Raises:
        ValueError: If there are fewer than two cells or methods, or a score is missing.
    """
    cells, methods = scores.shape
    if cells < 2 or methods < 2 or not np.isfinite(scores).all():
        raise ValueError(f"ranks need two cells and two methods with all scores, not {cells} cells of {methods}")
    ranks = stats.rankdata(-scores, axis=1)
    means = ranks.mean(0)
    # ties lower the variance of the ranks that chance gives: Conover, 1999, Practical Nonparametric Statistics, 5.8
    between = cells**2 * float(((means - (methods + 1) / 2) ** 2).sum())
    spread = float(((ranks - (methods + 1) / 2) ** 2).sum())
    statistic = (methods - 1) * between / spread if spread else 0.0
    left = cells * (methods - 1) - statistic
    f = (cells - 1) * statistic / left if left > 1e-12 else np.inf
    p_value = float(stats.f.sf(f, methods - 1, (methods - 1) * (cells - 1)))
    critical = critical_difference(methods, cells, level)
    return Ranking(means, statistic, p_value, critical, _groups(means, critical))


def _groups(means: np.ndarray, critical: float) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(means, kind="stable")
    found: list[tuple[int, ...]] = []
    for start in range(len(order)):
        within = [int(one) for one in order[start:] if means[one] - means[order[start]] < critical]
        if len(within) > 1 and not any(set(within) <= set(group) for group in found):
            found.append(tuple(within))
    return tuple(found)
