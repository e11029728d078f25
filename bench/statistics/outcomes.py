"""Outcomes of tests against a threshold, over all cells of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from bench.statistics.corrections import holm
from bench.statistics.estimate import Estimate

LEVEL = 0.05
DROP_LIMIT = 1.0  # percent of the dense model's top-1


class Outcome(str, Enum):
    """Outcome of a test against an upper limit."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


def judge(estimates: Sequence[Estimate], limit: float = DROP_LIMIT, level: float = LEVEL) -> list[Outcome]:
    """Returns for each cell whether the quantity is below a limit, above it, or neither is shown.

    Two one-sided tests a cell, corrected by Holm over all cells, apart for each direction. A cell with one unit is
    undecided, and counts in the correction.

    Args:
        estimates: Estimates of the cells.
        limit: Upper limit of the quantity.
        level: Chance of any false outcome in one direction.
    """
    below = holm([one.p_at_least(limit) for one in estimates]) < level
    above = holm([one.p_at_most(limit) for one in estimates]) < level
    return [
        Outcome.HOLDS if low else Outcome.FAILS if high else Outcome.UNDECIDED
        for low, high in zip(below, above, strict=True)
    ]


def overall(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns the outcome of a claim on all cells: it holds on each, fails on one, or is undecided."""
    if Outcome.FAILS in outcomes:
        return Outcome.FAILS
    return Outcome.HOLDS if outcomes and set(outcomes) == {Outcome.HOLDS} else Outcome.UNDECIDED


def signs(differences: Sequence[Estimate], level: float = LEVEL) -> list[int]:
    """Returns for each difference whether it is shown to be positive (1), negative (-1), or neither (0).

    Two-sided tests, corrected by Holm over all of them.

    Args:
        differences: Estimates of the differences.
        level: Chance of any false sign.
    """
    shown = holm([one.p_two_sided() for one in differences]) < level
    return [int(np.sign(one.value)) if found else 0 for one, found in zip(differences, shown, strict=True)]
