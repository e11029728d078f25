from __future__ import annotations

import pytest
import torch

import cap
from cap.fisher import as_blocks, from_blocks


@pytest.mark.parametrize(("num_weights", "block_size", "m"), [(24, 8, 50), (22, 8, 5), (7, 16, 3), (5, 1, 9)])
def test_inverse_is_that_of_the_definition(num_weights: int, block_size: int, m: int) -> None:
    torch.manual_seed(0)
    gradients = torch.randn(m, num_weights)
    fisher = cap.BlockFisher(num_weights, block_size, damp=1e-3)
    for part in gradients.split(4):
        fisher.update(part)
    inverse = fisher.inverse()
    assert inverse.shape == (-(-num_weights // block_size), block_size, block_size)
    for block, start in enumerate(range(0, num_weights, block_size)):
        g = gradients[:, start : start + block_size].double()
        size = g.shape[1]
        exact = torch.linalg.inv(1e-3 * torch.eye(size, dtype=torch.float64) + g.T @ g / m)
        torch.testing.assert_close(inverse[block, :size, :size], exact, rtol=1e-5, atol=1e-5)


def test_small_dampening_with_few_large_gradients_stays_positive_definite() -> None:
    fisher = cap.BlockFisher(64, 64, damp=1e-8)
    torch.manual_seed(0)
    fisher.update(10 * torch.randn(4, 64))
    assert (torch.linalg.eigvalsh(fisher.inverse()) > 0).all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="dampening 0 is not valid"):
        cap.BlockFisher(8, 4, 0)
    with pytest.raises(ValueError, match="at least 1"):
        cap.BlockFisher(8, 0, 1e-3)
    fisher = cap.BlockFisher(8, 4, 1e-3)
    with pytest.raises(ValueError, match="no gradients"):
        fisher.inverse()
    with pytest.raises(ValueError, match=r"shape \(2, 7\), expected \(m, 8\)"):
        fisher.update(torch.zeros(2, 7))
    fisher.update(torch.full((1, 8), float("inf")))
    with pytest.raises(ValueError, match="block 0 is not positive definite: raise the dampening"):
        fisher.inverse()


def test_blocks_round_trip() -> None:
    weight = torch.randn(3, 7)
    blocks = as_blocks(weight, 8)
    assert blocks.shape == (3, 8)
    assert blocks.flatten()[21:].abs().sum() == 0
    assert from_blocks(blocks, weight).equal(weight)
