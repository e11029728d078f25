from __future__ import annotations

import pytest
from scipy import stats

from bench.statistics.estimate import mean_of_units
from bench.statistics.outcomes import Outcome, judge, overall, signs

HOLDS, FAILS, UNDECIDED = Outcome


def test_three_outcomes() -> None:
    drops = [[0.1, 0.2, 0.15], [3.0, 3.3, 2.9], [0.2, 1.4, 0.9], [0.0]]
    assert judge([mean_of_units(one) for one in drops]) == [HOLDS, FAILS, UNDECIDED, UNDECIDED]


def test_each_direction_is_corrected_for_all_cells() -> None:
    drops = [0.30, 0.75, 0.55]
    p_value = stats.ttest_1samp(drops, 1.0, alternative="less").pvalue
    assert 0.025 < p_value < 0.05
    assert judge([mean_of_units(drops)]) == [HOLDS]
    assert judge([mean_of_units(drops)] * 2) == [UNDECIDED, UNDECIDED], "twice the p-value is above the level"
    sure, lost = mean_of_units([0.1, 0.2, 0.15]), mean_of_units([9.0, 9.1, 9.2])
    assert judge([mean_of_units(drops), sure]) == [HOLDS, HOLDS], "the last of Holm's steps takes the level whole"
    assert judge([mean_of_units(drops), sure, lost])[0] is UNDECIDED, "a cell that fails counts, too"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [([HOLDS, HOLDS], HOLDS), ([HOLDS, UNDECIDED], UNDECIDED), ([UNDECIDED, FAILS], FAILS), ([], UNDECIDED)],
)
def test_a_claim_holds_on_every_cell(outcomes: list[Outcome], expected: Outcome) -> None:
    assert overall(outcomes) is expected


def test_signs() -> None:
    differences = [[1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [1.0, -1.0, 0.1]]
    assert signs([mean_of_units(one) for one in differences]) == [1, -1, 0]
