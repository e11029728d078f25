from __future__ import annotations

import pytest

from bench.statistics.estimate import mean_of_units
from bench.statistics.headline import Crossing, first_crossing, sparsity_at_drop


@pytest.mark.parametrize(
    ("drops", "expected"),
    [
        ((0.0, 0.5, 1.5), Crossing(0.7)),
        ((2.0, 3.0, 4.0), Crossing(0.25)),
        ((0.2, 1.2, 0.4), Crossing(0.66)),
        ((-0.3, 0.1, 1.0), Crossing(0.8, beyond=True)),
    ],
)
def test_first_crossing_of_a_broken_line(drops: tuple[float, ...], expected: Crossing) -> None:
    found = first_crossing((0.5, 0.7, 0.8)[:3] if drops[1] != 0.5 else (0.5, 0.6, 0.8), drops)
    assert found.sparsity == pytest.approx(expected.sparsity)
    assert found.beyond is expected.beyond


def test_interval_is_where_the_ends_of_the_drops_cross() -> None:
    drops = [mean_of_units([one - 0.3, one, one + 0.3]) for one in (0.0, 1.0, 2.0)]
    low, high = drops[0].interval()
    found = sparsity_at_drop((0.5, 0.6, 0.7), drops)
    assert found.at.sparsity == pytest.approx(0.6)
    assert found.low.sparsity == pytest.approx(0.5 + 0.1 * (1 - high))
    assert found.high.sparsity == pytest.approx(0.6 + 0.1 * -low)
    assert str(found) == f"60.0 % ({found.low} to {found.high})"
    assert str(Crossing(0.98, beyond=True)) == "at least 98.0 %"


def test_bad_curves_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must increase from above 0, but 0.5 follows 0.6"):
        first_crossing((0.6, 0.5), (0.0, 0.1))
    with pytest.raises(ValueError, match="at least two dense seeds"):
        sparsity_at_drop((0.5,), [mean_of_units([0.1])])
