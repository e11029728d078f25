from __future__ import annotations

import math

import pytest

import cap
from cap.training.schedules import cosine, linear, sawtooth, warmed_up

PAPER = cap.Ramp(((20, 0.5), (40, 0.6), (100, 0.75), (280, 0.9)))


def test_rate_falls_linearly_to_its_last_value() -> None:
    assert [linear(step, 5, 1.0, 0.2) for step in range(5)] == [1.0, 0.8, 0.6, 0.3999999999999999, 0.19999999999999996]
    assert linear(0, 1, 1.0, 0.1) == 1.0


def test_cosine_starts_and_ends_where_it_should() -> None:
    values = [cosine(step, 5, 1.0, 0.2) for step in range(5)]
    assert values[0] == 1.0
    assert values[2] == pytest.approx(0.6)
    assert values[4] == pytest.approx(0.2)
    assert values[1] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)


def test_sawtooth_jumps_at_every_period() -> None:
    assert [sawtooth(step, 3, 1.0, 0.0) for step in range(7)] == [1.0, 0.5, 0.0, 1.0, 0.5, 0.0, 1.0]


def test_the_papers_ramp_meets_every_sparsity_of_its_tables() -> None:
    steps = PAPER.steps(20)
    assert list(steps) == list(range(20, 281, 20))
    assert [steps[epoch] for epoch in (20, 40, 60, 80, 100, 160, 280)] == [0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9]


def test_cubic_ramp() -> None:
    ramp = cap.Ramp(((0, 0.4), (8, 0.9)), "cubic")
    assert ramp.at(4) == pytest.approx(0.9 - 0.5 * 0.5**3)
    assert ramp.steps(4) == {0: 0.4, 4: 0.8375, 8: 0.9}
    assert (ramp.at(-1), ramp.at(20)) == (0.4, 0.9)


@pytest.mark.parametrize(
    ("knots", "kind", "message"),
    [
        ((), "linear", "give"),
        (((0, 0.5), (0, 0.6)), "linear", "epochs must rise"),
        (((0, 0.5), (2, 0.4)), "linear", "must not fall"),
        (((0, 1.0),), "linear", "0 < sparsity < 1"),
        (((0, 0.5), (2, 0.6)), "quartic", "choose linear or cubic"),
        (((0, 0.5), (2, 0.6), (4, 0.7)), "cubic", "two knots"),
    ],
)
def test_impossible_ramps(knots: tuple, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cap.Ramp(knots, kind)


def test_a_period_must_divide_the_ramp() -> None:
    with pytest.raises(ValueError, match="no multiple of the period of 30"):
        PAPER.steps(30)


def test_a_rise_before_the_schedule() -> None:
    values = [warmed_up(step, 3, 1.0, lambda later: linear(later, 3, 1.0, 0.5)) for step in range(6)]
    assert values == [0.25, 0.5, 0.75, 1.0, 0.75, 0.5]
    assert warmed_up(0, 0, 1.0, lambda later: 0.3 + later) == 0.3
