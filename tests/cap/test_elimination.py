from __future__ import annotations

import pytest
import torch

import cap
from cap.elimination import layer_in_errors


def problem(num_blocks: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random weights (num_blocks, size), Fisher blocks and their inverses."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(num_blocks, 2 * size, size, generator=generator, dtype=torch.float64)
    fisher = g.transpose(1, 2) @ g / (2 * size) + 1e-3 * torch.eye(size, dtype=torch.float64)
    weight = torch.randn(num_blocks, size, generator=generator, dtype=torch.float64)
    return weight, fisher, torch.cholesky_inverse(torch.linalg.cholesky(fisher))


def best_weights(weight: torch.Tensor, fisher: torch.Tensor, removed: list[int]) -> torch.Tensor:
    """Minimises 1/2 (x - w)^T F (x - w) subject to x = 0 on the removed set, by solving for the rest."""
    stay = [j for j in range(len(weight)) if j not in removed]
    x = torch.zeros_like(weight)
    if stay:
        right = fisher[stay][:, removed] @ weight[removed]
        x[stay] = weight[stay] + torch.linalg.solve(fisher[stay][:, stay], right)
    return x


def test_an_inverse_that_is_not_positive_definite_is_an_error() -> None:
    inverse = torch.stack([torch.eye(4), torch.tensor([[1.0, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])])
    with pytest.raises(ValueError, match="inverse of block 1 is not positive definite"):
        cap.eliminate(torch.ones(2, 4), inverse)


def test_cumulative_loss_never_falls() -> None:
    weight, _, inverse = problem(4, 16, seed=1)
    order, loss = cap.eliminate(weight, inverse)
    assert (loss.gather(1, order).diff(dim=1) >= 0).all()


@pytest.mark.parametrize("size", [12, 530])  # small blocks are solved together, large ones each by itself
def test_compensation_is_optimal_for_any_mask(size: int) -> None:
    weight, fisher, inverse = problem(5, size, seed=2)
    keep = torch.rand(5, size, generator=torch.Generator().manual_seed(0)) < 0.5
    keep[0], keep[1] = True, False
    ours = cap.compensate(weight, inverse, keep)
    assert (ours[~keep] == 0).all()
    assert ours[0].equal(weight[0])
    for block in range(5):
        theirs = best_weights(weight[block], fisher[block], (~keep[block]).nonzero().flatten().tolist())
        torch.testing.assert_close(ours[block], theirs)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cap.eliminate(torch.zeros(2, 4), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match="multiple of 4"):
        cap.eliminate(torch.ones(1, 6), torch.eye(6)[None], cap.NM(2, 4))


def test_max_sparsity() -> None:
    weight, _, inverse = problem(2, 16)
    assert cap.eliminate(weight, inverse, max_sparsity=0.3).order.shape == (2, 5)
    assert cap.eliminate(weight, inverse, cap.NM(2, 4), max_sparsity=0.9).order.shape == (2, 8)
    with pytest.raises(ValueError, match=r"max_sparsity 1\.5 is not valid"):
        cap.eliminate(weight, inverse, max_sparsity=1.5)


@pytest.mark.parametrize("size", [2, 530])
def test_compensation_of_an_indefinite_inverse_is_an_error(size: int) -> None:
    inverse = torch.eye(size).repeat(2, 1, 1)
    inverse[1, 0, 1] = inverse[1, 1, 0] = 2
    with pytest.raises(ValueError, match="inverse of block 1 is not positive definite"):
        cap.compensate(torch.ones(2, size), inverse, torch.zeros(2, size, dtype=torch.bool))


def test_a_bad_block_far_into_a_layer_has_its_number() -> None:
    inverse = torch.eye(4).repeat(3, 1, 1)
    inverse[1, 0, 1] = inverse[1, 1, 0] = 2
    expected = pytest.raises(ValueError, match=r"^fc\.weight: the inverse of block 228 is not positive definite")
    with expected, layer_in_errors("fc.weight", 227):
        cap.eliminate(torch.ones(3, 4), inverse)
