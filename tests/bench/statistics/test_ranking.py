from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.statistics.ranking import critical_difference, rank_methods

# Demsar, 2006, table 6: AUC of C4.5, with m, with cf, with both, on 14 data sets; its ranks are those before rounding
AUC = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.97501, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_ranks_and_groups_of_a_published_example() -> None:
    found = rank_methods(AUC)
    assert found.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert rank_methods(AUC, 0.10).critical_difference == pytest.approx(1.12, abs=5e-3)
    assert found.groups == ((3, 1, 2, 0),)
    assert rank_methods(AUC, 0.10).groups == ((3, 1, 2), (2, 0))


def test_friedmans_statistic_is_scipys() -> None:
    found = rank_methods(AUC)
    assert found.statistic == pytest.approx(stats.friedmanchisquare(*AUC.T).statistic)
    f = 13 * found.statistic / (14 * 3 - found.statistic)
    assert found.p_value == pytest.approx(stats.f.sf(f, 3, 39))


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)])
def test_critical_values_are_those_of_the_tables(methods: int, q: float) -> None:
    assert critical_difference(methods, 50) == pytest.approx(q * np.sqrt(methods * (methods + 1) / 300), rel=1e-3)


def test_groups_are_the_largest_sets_within_the_critical_difference() -> None:
    scores = np.array([[3.0, 2.0, 1.0]] * 8)
    found = rank_methods(scores)
    assert found.critical_difference == pytest.approx(1.17, abs=0.01)
    assert found.groups == ((0, 1), (1, 2))
    assert found.p_value == 0
    assert rank_methods(np.ones((8, 3))).groups == ((0, 1, 2),)


def test_missing_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="two cells and two methods with all scores"):
        rank_methods(np.array([[1.0, np.nan], [1.0, 2.0]]))
