"""Outcomes of tests against a threshold, over all cells of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bench.statistics.corrections import holm
from bench.statistics.estimate import Estimate

LEVEL = 0.05
DROP_LIMIT = 1.0  # percent of the dense model's top-1


class Outcome(str, Enum):
    """Outcome of a test."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class CellTest:
    """Test of one cell of a claim.

    Attributes:
        outcome: What is shown.
        p_value: The smaller of the p-values of the two directions, corrected by Holm over all cells of the claim.
    """

    outcome: Outcome
    p_value: float


def judge(estimates: Sequence[Estimate], limit: float = DROP_LIMIT, level: float = LEVEL) -> list[CellTest]:
    """Returns for each cell whether the quantity is below a limit (HOLDS), above it (FAILS), or neither is shown.

    Two one-sided tests a cell, corrected by Holm over all cells, apart for each direction. A cell with one unit is
    undecided, and counts in the correction.

    Args:
        estimates: Estimates of the cells.
        limit: Upper limit of the quantity.
        level: Chance of any false outcome in one direction.
    """
    below, above = [one.p_at_least(limit) for one in estimates], [one.p_at_most(limit) for one in estimates]
    return _two_directions(below, above, level)


def signs(differences: Sequence[Estimate], level: float = LEVEL) -> list[CellTest]:
    """Returns for each difference whether it is shown to be positive (HOLDS), negative (FAILS), or neither.

    Two-sided tests, corrected by Holm over all of them.

    Args:
        differences: Estimates of the differences.
        level: Chance of any false sign.
    """
    return [
        CellTest((Outcome.HOLDS if one.value > 0 else Outcome.FAILS) if p_value < level else Outcome.UNDECIDED, p_value)
        for one, p_value in zip(differences, _adjusted([one.p_two_sided() for one in differences]), strict=True)
    ]


def effects(differences: Sequence[Estimate], margin: float, level: float = LEVEL) -> list[CellTest]:
    """Returns for each difference whether its size is shown to exceed a margin (HOLDS), to stay below it, or neither.

    The p-value of "at most the margin" is that of the size at the margin, both tails together; that of "at least the
    margin" is the larger of two one-sided tests (Schuirmann, 1987, Journal of Pharmacokinetics and Biopharmaceutics 15,
    657-680). Each direction is corrected by Holm over all differences.

    Args:
        differences: Estimates of the differences.
        margin: Size that matters, above 0.
        level: Chance of any false outcome in one direction.
    """
    beyond, within = [], []
    for one in differences:
        up, down = one.p_at_most(margin), one.p_at_least(-margin)
        tails = (up, one.p_at_most(-margin)) if one.value > 0 else (down, one.p_at_least(margin))
        beyond.append(min(1.0, sum(tails)))
        within.append(max(one.p_at_least(margin), one.p_at_most(-margin)))
    return _two_directions(beyond, within, level)


def _two_directions(holding: Sequence[float], failing: Sequence[float], level: float) -> list[CellTest]:
    """Returns the tests of cells, given the p-values of both directions."""
    return [
        CellTest(Outcome.HOLDS if yes < level else Outcome.FAILS if no < level else Outcome.UNDECIDED, min(yes, no))
        for yes, no in zip(_adjusted(holding), _adjusted(failing), strict=True)
    ]


def _adjusted(p_values: Sequence[float]) -> list[float]:
    return [float(value) for value in holm(p_values)]


def overall(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns the outcome of a claim on all cells: it holds on each, fails on one, or is undecided."""
    if Outcome.FAILS in outcomes:
        return Outcome.FAILS
    return Outcome.HOLDS if outcomes and set(outcomes) == {Outcome.HOLDS} else Outcome.UNDECIDED
