from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.statistics.corrections import holm


def closed_testing(p_values: np.ndarray) -> np.ndarray:
    """Returns adjusted p-values by the closure of Bonferroni's test, of which Holm's procedure is the short cut."""
    count = len(p_values)
    return np.array([
        max(
            min(1.0, len(part) * min(p_values[list(part)]))
            for size in range(1, count + 1)
            for part in itertools.combinations(range(count), size)
            if one in part
        )
        for one in range(count)
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_closed_testing(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(6) ** 3
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).size == 0
    assert holm([0.2]) == pytest.approx([0.2])
