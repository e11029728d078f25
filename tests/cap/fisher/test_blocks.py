from __future__ import annotations

import pytest
import torch

import cap
from cap.fisher.blocks import merge_blocks, split_blocks


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
    blocks = split_blocks(weight, 8)
    assert blocks.shape == (3, 8)
    assert blocks.flatten()[21:].abs().sum() == 0
    assert merge_blocks(blocks, weight).equal(weight)


@pytest.mark.parametrize("m", [3, 8, 31, 300])
def test_any_number_of_gradients_in_any_pieces(m: int) -> None:
    """Below and above the block size: Woodbury's identity, or the sum; gathered, or added up in between."""
    torch.manual_seed(0)
    gradients = torch.randn(m, 50)
    exact = [
        torch.linalg.inv(1e-2 * torch.eye(len(g[0]), dtype=torch.float64) + g.T @ g / m)
        for g in gradients.double().split(16, dim=1)
    ]
    for piece in (1, 7, 300):
        fisher = cap.BlockFisher(50, 16, damp=1e-2)
        for part in gradients.split(piece):
            fisher.update(part)
        assert fisher.num_gradients == m
        for _ in range(2):  # asking does not change it
            inverse = fisher.inverse()
            for block, theirs in zip(inverse, exact, strict=True):
                torch.testing.assert_close(block[: len(theirs), : len(theirs)], theirs, rtol=1e-8, atol=1e-8)
    more = cap.BlockFisher(50, 16, damp=1e-2)
    more.update(gradients)
    more.inverse()
    more.update(gradients)
    torch.testing.assert_close(more.inverse(), inverse, rtol=1e-8, atol=1e-8)


def test_single_precision_on_request() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(64, 32)
    single, double = (cap.BlockFisher(32, 16, 1e-2, dtype=dtype) for dtype in (torch.float32, torch.float64))
    for fisher in (single, double):
        fisher.update(gradients)
    assert single.inverse().dtype == torch.float32
    torch.testing.assert_close(single.inverse().double(), double.inverse(), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"choose torch.float32 or torch.float64"):
        cap.BlockFisher(8, 4, 1e-3, dtype=torch.float16)


def test_a_bad_block_is_named_with_its_layer(model, layers, calibration) -> None:
    with torch.no_grad():
        model.head.weight *= 1e12
    with pytest.raises(
        ValueError, match=r"^\w+.weight: Fisher block \d+ is not positive definite: raise the dampening above"
    ):
        cap.create("cap", block_size=8).fit(model, layers, calibration)


def test_double_precision_gradients_are_not_rounded() -> None:
    torch.manual_seed(0)
    for m in (4, 300):
        gradients = torch.randn(m, 8, dtype=torch.float64) * 1e-30
        fisher = cap.BlockFisher(8, 8, damp=1e-62)
        fisher.update(gradients)
        exact = torch.linalg.inv(1e-62 * torch.eye(8, dtype=torch.float64) + gradients.T @ gradients / m)
        torch.testing.assert_close(fisher.inverse()[0], exact, rtol=1e-6, atol=0)
