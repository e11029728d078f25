"""Estimates of the page's cells with intervals: over seeds, and of several dense models as docs/protocol.md says."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.reports.page.comparison_data import Interval
from bench.reports.page.protocol import interval_of
from bench.reports.sweep.estimates import Accuracy, Estimator
from bench.statistics.bootstrap import Statistic, relative_drop
from bench.statistics.estimate import mean_of_units

BASELINE = "magnitude"  # what `gain` is relative to
SAME = ("model", "pattern", "phase", "regime", "recipe")  # of a row and the baseline's that it is compared with

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CellEstimate:
    """Top-1 of a cell, by itself and relative to others; None where there is none.

    Attributes:
        top1: Top-1, percent.
        drop: The same less the dense model's, points.
        loss: Loss of top-1, percent of the dense model's.
        gain: Top-1 less that of magnitude at the same pattern and seed, points.
        resampled: Whether the intervals are over dense models.
    """

    top1: Interval | None
    drop: Interval | None
    loss: Interval | None
    gain: Interval | None
    resampled: bool


class CellEstimates:
    """Estimates of cells by the kind of their rows.

    Rows of one dense model are a sample of seeds, with Student's t. Those of several dense models are estimated as
    the verdicts are, over dense seeds and, where predicted classes are stored, test images.

    Args:
        rows: Rows of pruned models, valid or not, as `bench.reports.sweep.summary.pruned` returns them, with the
            column `baseline`.
        estimator: What estimates over dense seeds are made by.
    """

    def __init__(self, rows: pd.DataFrame, estimator: Estimator) -> None:
        self._estimator = estimator
        seeded = rows[rows["dense_seed"].notna() & ~rows["invalid"]]
        baselines = seeded[seeded["pruner"] == BASELINE]
        keys = [baselines["recipe"].fillna("") if name == "recipe" else baselines[name] for name in SAME]
        self._baselines = {key: Accuracy.of(part) for key, part in baselines.groupby(keys)} if len(baselines) else {}

    def load(self, cells: Iterable[Sequence[Row]]) -> None:
        """Resamples the states of many cells together, which takes a fraction of the time that it takes one by one."""
        frames = [pd.DataFrame(rows) for rows in cells if _has_dense_models(rows)]
        self._estimator.load(Accuracy.of(frame, dense) for frame in frames for dense in (False, True))

    def of(self, rows: Sequence[Row]) -> CellEstimate:
        """Returns the estimates of a cell.

        Args:
            rows: Its valid rows, which differ in their seed alone.
        """
        if _has_dense_models(rows):
            return self._over_dense_models(rows)
        pairs = [(row["top1"], row["top1_dense"]) for row in rows]
        return CellEstimate(
            top1=_over_seeds([top1 for top1, _ in pairs]),
            drop=_over_seeds([top1 - dense for top1, dense in pairs]),
            loss=_over_seeds([100 * (1 - top1 / dense) for top1, dense in pairs if dense]),
            gain=_over_seeds([row["top1"] - row["baseline"] for row in rows]),
            resampled=False,
        )

    def _over_dense_models(self, rows: Sequence[Row]) -> CellEstimate:
        frame = pd.DataFrame(rows)
        own, dense = Accuracy.of(frame), Accuracy.of(frame, dense=True)
        baseline = self._baselines.get(_key(rows[0]))
        return CellEstimate(
            top1=self._interval(_percent, own),
            drop=self._interval(_points, own, dense),
            loss=self._interval(relative_drop, own, dense),
            gain=None if baseline is None else self._interval(_points, own, baseline),
            resampled=True,
        )

    def _interval(self, statistic: Statistic, *accuracies: Accuracy) -> Interval | None:
        found = self._estimator.estimate(statistic, accuracies)
        return None if found is None else interval_of(found)


def _has_dense_models(rows: Sequence[Row]) -> bool:
    """Returns whether all rows name the seed of their dense model."""
    return bool(rows) and not any(pd.isna(row["dense_seed"]) for row in rows)


def _key(row: Row) -> tuple[Hashable, ...]:
    return tuple("" if name == "recipe" and not isinstance(row[name], str) else row[name] for name in SAME)


def _percent(*means: float | np.ndarray) -> float | np.ndarray:
    """Returns an accuracy in percent."""
    return 100 * means[0]


def _points(*means: float | np.ndarray) -> float | np.ndarray:
    """Returns one accuracy less another, percentage points."""
    return 100 * (means[0] - means[1])


def _over_seeds(values: Sequence[float]) -> Interval | None:
    """Returns the mean of the numbers among values with its interval by Student's t; None where there is none."""
    there = [float(value) for value in values if value is not None and math.isfinite(value)]
    return interval_of(mean_of_units(there)) if there else None
