"""Correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns p-values adjusted so that the chance of any false rejection stays below the level.

    Holm (1979, Scandinavian Journal of Statistics 6, 65-70): of k p-values the j-th smallest is multiplied by
    k - j + 1, and none is smaller than one before it. It holds whatever the dependence between the tests.

    Args:
        p_values: p-values, (k,).

    Returns:
        Adjusted p-values in the same order, at most 1, (k,).
    """
    found = np.asarray(p_values, float)
    order = np.argsort(found, kind="stable")
    steps = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
