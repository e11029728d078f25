from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.estimate import Estimate, mean_of_units
from bench.statistics.power import power_of, units_to_decide


def effect(size: float, image_variance: float = 0.0) -> Estimate:
    """Returns an estimate from 10 units of variance 1."""
    return Estimate(size, math.sqrt(0.1 + image_variance), 9, 10, image_variance)


@pytest.mark.parametrize(("size", "units"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_numbers_are_those_of_published_tables(size: float, units: int) -> None:
    """One-sample t-test, two-sided 5 %, power 80 % (G*Power; Cohen, 1988)."""
    assert units_to_decide(effect(size)) == units


def test_power_is_the_share_of_samples_that_show_the_effect() -> None:
    samples = np.random.default_rng(0).normal(0.9, 1, (20_000, 6))
    shown = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
    assert power_of(effect(0.9), 6) == pytest.approx(shown, abs=0.01)


def test_images_limit_what_seeds_can_show() -> None:
    assert units_to_decide(effect(0.5, image_variance=0.01)) > units_to_decide(effect(0.5))
    assert units_to_decide(effect(0.5, image_variance=0.05)) is None
    threshold = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) ** 2
    assert units_to_decide(effect(0.5, image_variance=0.25 / threshold * 0.9)) is not None
    assert units_to_decide(effect(0.5, image_variance=0.25 / threshold * 1.1)) is None


def test_one_unit_or_no_effect_decides_nothing() -> None:
    assert units_to_decide(mean_of_units([1.0])) is None
    assert units_to_decide(effect(0.0)) is None
    assert units_to_decide(mean_of_units([1.0, 1.0])) == 2
