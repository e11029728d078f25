"""The inverse Fisher blocks against Sherman-Morrison updates, gradient by gradient."""

from __future__ import annotations

import functools

import plain
import pytest
import torch
from measuring import SMALL, Measure

import cap

DAMP = 1e-6


@functools.lru_cache(maxsize=1)
def gradients(m: int, num_weights: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    m, num_weights = (max(4, m // 64), num_weights // 64) if SMALL else (m, num_weights)
    return 1e-3 * torch.randn(m, num_weights, generator=generator)


def block_fisher(rows: torch.Tensor, block_size: int, damp: float) -> torch.Tensor:
    fisher = cap.BlockFisher(rows.shape[1], block_size, damp)
    for part in rows.split(64):
        fisher.update(part)
    return fisher.inverse()


METHODS = {
    "Sherman-Morrison": plain.sherman_morrison,
    "Sherman-Morrison, in place": functools.partial(plain.sherman_morrison, in_place=True),
    "BlockFisher": block_fisher,
}
# shape, m, rounds of the plain version
CASES = {
    "DeiT-S 384 x 1536, 1,024 gradients": (384 * 1536, 1024, 1),
    "DeiT-S 384 x 1536, 64 gradients": (384 * 1536, 64, 3),
    "DeiT-T 192 x 768, 1,024 gradients": (192 * 768, 1024, 1),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_inverse(measure: Measure, case: str, method: str) -> None:
    num_weights, m, rounds = CASES[case]
    rows = gradients(m, num_weights)
    block_fisher(rows[:4, :384], 192, DAMP), block_fisher(rows[:, :384], 192, DAMP)  # compiled before it is timed
    measure(
        f"inverse Fisher, {case}, B = 192",
        method,
        lambda: METHODS[method](rows, 192, DAMP),
        rounds=3 if method == "BlockFisher" else rounds,
    )


@pytest.mark.parametrize("method", ["Sherman-Morrison, in place", "BlockFisher"])
@pytest.mark.parametrize("m", [2**p for p in range(3, 12)])
def test_growth_with_gradients(measure: Measure, m: int, method: str) -> None:
    rows = gradients(m, 2**15)[:, : 192 * (2 if SMALL else 64)]
    block_fisher(rows[:, :384], 192, DAMP)
    group = "growth: inverse Fisher with m, d = 12,288, B = 192"
    measure(group, method, lambda: METHODS[method](rows, 192, DAMP), x=m)
