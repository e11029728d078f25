from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.statistics.estimate import mean_of_units
from bench.statistics.outcomes import CellTest, Outcome, effects, judge, overall, signs

HOLDS, FAILS, UNDECIDED = Outcome


def outcomes(tests: list[CellTest]) -> list[Outcome]:
    return [test.outcome for test in tests]


def test_three_outcomes() -> None:
    drops = [[0.1, 0.2, 0.15], [3.0, 3.3, 2.9], [0.2, 1.4, 0.9], [0.0]]
    assert outcomes(judge([mean_of_units(one) for one in drops])) == [HOLDS, FAILS, UNDECIDED, UNDECIDED]


def test_each_direction_is_corrected_for_all_cells() -> None:
    drops = [0.30, 0.75, 0.55]
    p_value = stats.ttest_1samp(drops, 1.0, alternative="less").pvalue
    assert 0.025 < p_value < 0.05
    [alone] = judge([mean_of_units(drops)])
    assert alone == CellTest(HOLDS, pytest.approx(p_value))
    twice = judge([mean_of_units(drops)] * 2)
    assert twice == [CellTest(UNDECIDED, pytest.approx(2 * p_value))] * 2, "twice the p-value is above the level"
    sure, lost = mean_of_units([0.1, 0.2, 0.15]), mean_of_units([9.0, 9.1, 9.2])
    assert outcomes(judge([mean_of_units(drops), sure])) == [HOLDS, HOLDS], "the last of Holm's steps takes all"
    assert judge([mean_of_units(drops), sure, lost])[0].outcome is UNDECIDED, "a cell that fails counts, too"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [([HOLDS, HOLDS], HOLDS), ([HOLDS, UNDECIDED], UNDECIDED), ([UNDECIDED, FAILS], FAILS), ([], UNDECIDED)],
)
def test_a_claim_holds_on_every_cell(shown: list[Outcome], expected: Outcome) -> None:
    assert overall(shown) is expected


def test_signs() -> None:
    differences = [[1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [1.0, -1.0, 0.1]]
    found = signs([mean_of_units(one) for one in differences])
    assert outcomes(found) == [HOLDS, FAILS, UNDECIDED]
    assert found[2].p_value == pytest.approx(stats.ttest_1samp(differences[2], 0).pvalue)


def test_sizes_of_effects() -> None:
    differences = [[0.9, 1.0, 1.1], [-1.1, -1.0, -0.9], [0.1, 0.0, 0.05], [0.4, 0.6, 0.5]]
    estimates = [mean_of_units(one) for one in differences]
    assert outcomes(effects(estimates, 0.5)) == [HOLDS, HOLDS, FAILS, UNDECIDED]
    beyond = stats.ttest_1samp(differences[0], 0.5, alternative="greater").pvalue
    other_tail = stats.ttest_1samp(differences[0], -0.5, alternative="greater").pvalue
    assert effects(estimates[:1], 0.5)[0].p_value == pytest.approx(beyond + other_tail)
    below = stats.ttest_1samp(differences[2], 0.5, alternative="less").pvalue
    above = stats.ttest_1samp(differences[2], -0.5, alternative="greater").pvalue
    assert effects(estimates[2:3], 0.5)[0].p_value == pytest.approx(max(below, above))


def test_an_effect_of_the_margins_size_is_rarely_taken_for_a_larger_one() -> None:
    """At the margin itself at most one in twenty is shown to exceed it, be the error small or large."""
    generator = np.random.default_rng(0)
    for error in (0.1, 2.0):
        draws = 0.5 + error * generator.standard_normal((2000, 3))
        shown = [effects([mean_of_units(one)], 0.5)[0].outcome is HOLDS for one in draws]
        assert np.mean(shown) < 0.065
