from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.estimate import Estimate, mean_of_units


def test_a_mean_over_seeds_is_students() -> None:
    values = np.array([0.3, -0.1, 0.9, 0.4])
    found = mean_of_units(values)
    known = stats.ttest_1samp(values, 0.0)
    assert found.interval() == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert found.p_two_sided() == pytest.approx(known.pvalue)
    assert found.p_at_most(0.2) == pytest.approx(stats.ttest_1samp(values, 0.2, alternative="greater").pvalue)
    assert found.p_at_least(1.0) == pytest.approx(stats.ttest_1samp(values, 1.0, alternative="less").pvalue)


def test_one_unit_shows_nothing() -> None:
    found = mean_of_units([4.0])
    assert found.value == 4
    assert all(math.isnan(end) for end in found.interval())
    assert (found.p_at_least(100), found.p_at_most(-100), found.p_two_sided()) == (1, 1, 1)


def test_units_that_agree_have_no_error() -> None:
    found = mean_of_units([0.7] * 3)
    assert (found.error, found.interval()) == (0, (0.7, 0.7))
    assert (found.p_at_least(1), found.p_at_most(1), found.p_two_sided(0.7)) == (0, 1, 1)


def test_infinite_degrees_are_a_normal_distribution() -> None:
    assert Estimate(0, 1, math.inf, 2).interval()[1] == pytest.approx(1.959964, abs=1e-6)
