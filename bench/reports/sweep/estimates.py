"""Accuracies, their drops and differences, with errors over dense seeds and test images. Reads parquet alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.results.predictions import Predictions, State
from bench.statistics.bootstrap import (
    ResampledMeans,
    Resampling,
    Statistic,
    draw_resampling,
    estimate_of_means,
    relative_drop,
    resampled_means,
)
from bench.statistics.estimate import Estimate, mean_of_units

Sample = tuple[tuple[State, ...], ...]  # the states of every dense seed, over which correctness is averaged
BATCH = 256  # samples whose means are taken at once


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of one state of a model, over dense seeds.

    Attributes:
        states: States of each dense seed; correctness is averaged over several, such as those of two recipes.
        top1: Top-1 of each dense seed, a fraction.
    """

    states: Mapping[int, tuple[State, ...]]
    top1: Mapping[int, float]

    @classmethod
    def of(cls, rows: pd.DataFrame, dense: bool = False) -> Accuracy:
        """Returns the accuracy of rows.

        Args:
            rows: Rows of finished models with dense seeds.
            dense: Whether the dense models of these rows are meant.
        """
        states: dict[int, list[State]] = {}
        top1: dict[int, list[float]] = {}
        columns = [rows[name] for name in ("dense_seed", "trial_id", "pattern", "phase")]
        for seed, trial, pattern, phase, value in zip(*columns, rows["top1_dense" if dense else "top1"], strict=True):
            states.setdefault(int(seed), []).append((trial, None, "dense") if dense else (trial, pattern, phase))
            top1.setdefault(int(seed), []).append(value / 100)
        return cls(
            {seed: tuple(found) for seed, found in states.items()},
            {seed: sum(found) / len(found) for seed, found in top1.items()},
        )

    def sample(self, seeds: Iterable[int]) -> Sample:
        """Returns the states of each of these seeds."""
        return tuple(self.states[seed] for seed in seeds)


class Estimator:
    """Estimates by the two-level bootstrap where predicted classes are stored, else by Student's t over dense seeds.

    What has been resampled is kept, so that the same states cost their time once.

    Args:
        predictions: Predicted classes; may have none.
    """

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions
        self._resamplings: dict[tuple[int, int], Resampling] = {}
        self._means: dict[Sample, tuple[ResampledMeans, Resampling]] = {}

    def estimate(self, statistic: Statistic, accuracies: Sequence[Accuracy]) -> Estimate | None:
        """Returns a function of accuracies on the dense seeds that all of them have; None where they share none.

        Args:
            statistic: Function of one fraction for each accuracy; of arrays as of numbers.
            accuracies: Accuracies, at least one.
        """
        seeds = sorted(set.intersection(*(set(one.states) for one in accuracies)))
        if not seeds:
            return None
        samples = [one.sample(seeds) for one in accuracies]
        self._resample(samples)
        known = [self._means[sample] for sample in samples if sample in self._means]
        if len(known) == len(samples) and len({id(resampling) for _, resampling in known}) == 1:
            return estimate_of_means(statistic, [means for means, _ in known], known[0][1])
        return mean_of_units([float(statistic(*(one.top1[seed] for one in accuracies))) for seed in seeds])

    def load(self, accuracies: Iterable[Accuracy]) -> None:
        """Resamples many accuracies together, which takes a fraction of the time that it takes one by one."""
        self._resample([one.sample(sorted(one.states)) for one in accuracies])

    def drop(self, rows: pd.DataFrame) -> Estimate:
        """Returns the loss of top-1 in percent of the dense models'.

        Args:
            rows: Rows of finished models of one cell, with dense seeds.
        """
        found = self.estimate(relative_drop, [Accuracy.of(rows), Accuracy.of(rows, dense=True)])
        assert found is not None
        return found

    def loss(self, after: pd.DataFrame, before: pd.DataFrame) -> Estimate | None:
        """Returns how much top-1 is lost from one state to another, percent of the other's.

        Args:
            after: Rows of the one state of a model.
            before: Rows of the other.
        """
        return self.estimate(relative_drop, [Accuracy.of(after), Accuracy.of(before)])

    def difference(self, ones: Sequence[pd.DataFrame], others: Sequence[pd.DataFrame]) -> Estimate | None:
        """Returns how much more accurate some states are than others, points, mean over pairs.

        Args:
            ones: Rows of each state, such as one a model.
            others: Rows of what each is compared with.
        """
        return self.estimate(mean_difference, [Accuracy.of(rows) for rows in (*ones, *others)])

    def _resample(self, samples: Iterable[Sample]) -> None:
        """Takes the means of the samples whose predictions are stored and that are not known yet."""
        if not self._predictions.rows:
            return
        wanted: dict[tuple[int, int], dict[Sample, np.ndarray]] = {}
        for sample in dict.fromkeys(samples):
            if sample not in self._means and (found := self._correct(sample)) is not None:
                wanted.setdefault((found.shape[0], found.shape[1]), {})[sample] = found
        for shape, found_by_sample in wanted.items():
            if shape not in self._resamplings:
                self._resamplings[shape] = draw_resampling(*shape)
            resampling, keys = self._resamplings[shape], list(found_by_sample)
            for start in range(0, len(keys), BATCH):
                part = keys[start : start + BATCH]
                means = resampled_means([found_by_sample[key] for key in part], resampling)
                self._means |= {key: (mean, resampling) for key, mean in zip(part, means, strict=True)}

    def _correct(self, sample: Sample) -> np.ndarray | None:
        """Returns how right each seed is on each image, mean over its states, (n, m); None where it is not stored."""
        every = self._predictions.stacked([state for states in sample for state in states])
        if every is None:
            return None
        if len(every) == len(sample):
            return every
        ends = np.cumsum([len(states) for states in sample])
        return np.stack([part.mean(0) for part in np.split(every, ends[:-1])])


def mean_difference(*means: float | np.ndarray) -> float | np.ndarray:
    """Returns the mean difference of the first half of the accuracies to the second, percentage points of fractions."""
    half = len(means) // 2
    return 100 * (sum(means[:half]) - sum(means[half:])) / half


def lead_over_best(sizes: Sequence[int]) -> Statistic:
    """Returns the statistic "first accuracy less the largest of the others", mean over models, percentage points.

    The best of the others is found anew in every resample, so that its choice is within the error.

    Args:
        sizes: Number of accuracies of each model, its own first and then those of its rivals.
    """

    def lead(*means: float | np.ndarray) -> float | np.ndarray:
        leads, start = [], 0
        for size in sizes:
            own, *rivals = means[start : start + size]
            leads.append(own - functools.reduce(np.maximum, rivals))
            start += size
        return 100 * sum(leads) / len(sizes)

    return lead
