"""Saliencies that are equal, or differ by rounding alone, in every kernel; in Triton: tests/gpu/triton_kernel.py."""

from __future__ import annotations

import pytest
import torch

from cap.elimination import TIE_TOLERANCE
from cap.kernels import batched, cpu, reference

KERNELS = [reference, batched, cpu]


def tied(num_blocks: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and inverse Fisher blocks in which every weight has a twin: the same value, the mirrored gradients."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(num_blocks, size, size // 2, generator=generator, dtype=torch.float64)
    g = torch.cat([torch.cat([half, half.roll(1, 2).flip(2)], 2), torch.cat([half.roll(1, 2).flip(2), half], 2)], 1)
    fisher = g.mT @ g / len(g) + 1e-6 * torch.eye(size, dtype=torch.float64)
    weight = torch.randn(num_blocks, size // 2, generator=generator)
    return torch.cat([weight, weight], 1), torch.linalg.inv(fisher)


def largest_excess(weight: torch.Tensor, inverse: torch.Tensor, order: torch.Tensor) -> float:
    """By how much, relatively, a removal's saliency exceeds the least one: the constrained problem solved anew."""
    worst = 0.0
    for w, h, removals in zip(weight.double(), inverse.double(), order.tolist(), strict=True):
        fisher = torch.linalg.inv(h)
        for k, chosen in enumerate(removals):
            gone, stay = removals[:k], [j for j in range(len(w)) if j not in removals[:k]]
            left = torch.linalg.inv(fisher[stay][:, stay])
            values = w[stay] + left @ fisher[stay][:, gone] @ w[gone]
            saliency = values.square() / left.diagonal()
            worst = max(worst, float(saliency[stay.index(chosen)] / saliency.min()) - 1)
    return worst


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_removal_is_the_least_but_for_ties(kernel) -> None:  # type: ignore[no-untyped-def]
    weight, inverse = tied(4, 16)
    order, _ = kernel.eliminate_blocks(weight, inverse, 1, 1, 16)
    assert largest_excess(weight, inverse, order) <= TIE_TOLERANCE


def test_kernels_lose_the_same_at_ties() -> None:
    """Whichever of two twins goes first, the cumulative losses are those of the others."""
    weight, inverse = tied(4, 16)
    orders, losses = zip(*(kernel.eliminate_blocks(weight, inverse, 1, 1, 16) for kernel in KERNELS), strict=True)
    in_turn = [loss.gather(1, order) for order, loss in zip(orders, losses, strict=True)]
    for other in in_turn[1:]:
        torch.testing.assert_close(other, in_turn[0], rtol=16 * TIE_TOLERANCE, atol=0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [5, 16, 33])
def test_equal_saliencies_go_by_index(kernel, size: int) -> None:  # type: ignore[no-untyped-def]
    """With a diagonal inverse nothing is rounded: twins stay equal bit for bit, wherever they lie."""
    generator = torch.Generator().manual_seed(size)
    weight = torch.randint(0, 3, (6, size), generator=generator).float()
    order, _ = kernel.eliminate_blocks(weight, torch.eye(size).expand(6, -1, -1), 1, 1, size)
    assert order.equal(weight.argsort(dim=1, stable=True))
