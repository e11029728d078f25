from __future__ import annotations

import pytest
import torch

import cap
from cap.elimination import layer_in_errors
from cap.fisher.blocks import merge_blocks, split_blocks
from cap.kernels import batched, cpu


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


def spd(num_blocks: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random Fisher blocks, weights and orders."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(num_blocks, size + 3, size, generator=generator, dtype=torch.float64)
    fisher = g.mT @ g / size + 1e-2 * torch.eye(size, dtype=torch.float64)
    order = torch.rand(num_blocks, size, generator=generator).argsort(1)
    return fisher, torch.randn(num_blocks, size, generator=generator), order


@pytest.mark.parametrize("size", [1, 3, 16, 37])
@pytest.mark.parametrize("kernels", [batched, cpu])
def test_kernels_against_dense_algebra(kernels, size: int) -> None:
    fisher, weight, order = spd(5, size)
    gradients = torch.randn(21, 5 * size)
    gram = torch.ones_like(fisher)
    kernels.add_gram(gram, gradients)
    blocks = gradients.double().view(21, 5, size).transpose(0, 1)
    torch.testing.assert_close(gram.tril(), (1 + blocks.mT @ blocks).tril())
    out = torch.empty_like(fisher)
    kernels.damped_mean(fisher.tril(), 4, 0.5, out)
    torch.testing.assert_close(out, fisher / 4 + 0.5 * torch.eye(size, dtype=torch.float64))
    inverse = torch.linalg.inv(fisher)
    assert not kernels.invert_blocks(fisher, out).any()
    torch.testing.assert_close(out, inverse)
    packed, coefficients = torch.empty(5, size * (size + 1) // 2), torch.empty(5, size, dtype=torch.float64)
    assert not kernels.factor_blocks(fisher, order, weight, packed, coefficients).any()
    at = order[:, :, None].expand_as(fisher), order[:, None, :].expand_as(fisher)
    permuted = inverse.gather(1, at[0]).gather(2, at[1])
    lower = batched.unpack(packed, size)
    torch.testing.assert_close(lower.mT @ lower, permuted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kernels.inverse_diagonal(packed, size), permuted.diagonal(0, 1, 2), rtol=1e-4, atol=1e-4)
    vector = torch.randn(5, size, dtype=torch.float64)
    torch.testing.assert_close(
        kernels.multiply_inverse(packed, vector), (permuted @ vector[:, :, None])[:, :, 0], rtol=1e-4, atol=1e-4
    )
    counts = torch.tensor([0, size, size // 2, 1, size - 1])
    left = kernels.subtract_last_rows(weight.gather(1, order), packed, coefficients, counts)
    for block, count in enumerate(counts.tolist()):
        keep = torch.ones(1, size, dtype=torch.bool)
        keep[0, order[block, size - count :]] = False
        theirs = cap.compensate(weight[block : block + 1], inverse[block : block + 1], keep)
        ours = torch.empty(size, dtype=torch.float64).scatter_(0, order[block], left[block]) * keep[0]
        torch.testing.assert_close(ours, theirs[0].double(), rtol=1e-4, atol=1e-4)
    fisher[3] = -fisher[3]
    assert kernels.invert_blocks(fisher, out).tolist() == [False, False, False, True, False]
    assert kernels.factor_blocks(fisher, order, weight, packed, coefficients).tolist() == [False] * 3 + [True, False]


def test_a_bad_block_is_named_with_its_layer(model, layers, calibration) -> None:
    with torch.no_grad():
        model.fc2.weight[3, 5] = float("nan")
    with pytest.raises(
        ValueError, match=r"^\w+.weight: Fisher block 0 is not positive definite: raise the dampening above"
    ):
        cap.create("cap", block_size=8).fit(model, layers, calibration)


def test_a_bad_block_far_into_a_layer_has_its_number() -> None:
    inverse = torch.eye(4).repeat(3, 1, 1)
    inverse[1, 0, 1] = inverse[1, 1, 0] = 2
    expected = pytest.raises(ValueError, match=r"^fc\.weight: the inverse of block 228 is not positive definite")
    with expected, layer_in_errors("fc.weight", 227):
        cap.eliminate(torch.ones(3, 4), inverse)


def test_double_precision_gradients_are_not_rounded() -> None:
    torch.manual_seed(0)
    for m in (4, 300):
        gradients = torch.randn(m, 8, dtype=torch.float64) * 1e-30
        fisher = cap.BlockFisher(8, 8, damp=1e-62)
        fisher.update(gradients)
        exact = torch.linalg.inv(1e-62 * torch.eye(8, dtype=torch.float64) + gradients.T @ gradients / m)
        torch.testing.assert_close(fisher.inverse()[0], exact, rtol=1e-6, atol=0)
