"""The elimination in Triton against Algorithm 1 as printed: in Triton's interpreter (test_triton.py), or on a card.

Usage: TRITON_INTERPRET=1 pytest tests/gpu/triton_kernel.py; without TRITON_INTERPRET on a card.
"""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from torch import Tensor

import cap
from cap.elimination import TIE_TOLERANCE
from cap.kernels import cuda, reference

DEVICE = os.environ.get("CAPBENCH_TEST_DEVICE", "cpu")
ON_CARD = DEVICE != "cpu"
SIZES = (16, 24, 50, 64, 128, 192, 256) if ON_CARD else (16, 24)  # B, powers of two and others
BLOCKS = 48 if ON_CARD else 2
QUOTAS = {"unstructured": (1, 1), "2:4": (2, 4), "1:4": (3, 4), "4:8": (4, 8)}  # weights that go, of so many


def problem(num_blocks: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random weights (num_blocks, B), Fisher blocks and their inverses."""
    generator = torch.Generator().manual_seed(size)
    g = torch.randn(num_blocks, 2 * size, size, generator=generator, dtype=torch.float64)
    fisher = g.mT @ g / (2 * size) + 1e-3 * torch.eye(size, dtype=torch.float64)
    return torch.randn(num_blocks, size, generator=generator), fisher, torch.linalg.inv(fisher)


def eliminate(weight: Tensor, inverse: Tensor, quota: int, group: int, steps: int) -> tuple[Tensor, Tensor]:
    order, loss = cuda.eliminate_blocks(weight.to(DEVICE), inverse.to(DEVICE), quota, group, steps)
    return order.cpu(), loss.cpu()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("pattern", QUOTAS)
@pytest.mark.parametrize("size", SIZES)
def test_order_and_losses_are_those_of_algorithm_1(size: int, pattern: str, kind: torch.dtype) -> None:
    quota, group = QUOTAS[pattern]
    if size % group:
        pytest.skip(f"{pattern} does not fit into blocks of {size}")
    weight, _, inverse = problem(BLOCKS, size)
    inverse = inverse.to(kind)
    steps = size // group * quota
    theirs = reference.eliminate_blocks(weight, inverse, quota, group, steps)
    order, loss = eliminate(weight, inverse, quota, group, steps)
    assert order.equal(theirs[0])
    torch.testing.assert_close(loss, theirs[1])


@pytest.mark.parametrize("size", SIZES if ON_CARD else (64, 256))
def test_a_part_of_the_way(size: int) -> None:
    weight, _, inverse = problem(BLOCKS if ON_CARD else 1, size)
    steps = size // 4 if ON_CARD else 18  # more than a tile
    theirs = reference.eliminate_blocks(weight, inverse, 1, 1, steps)
    order, loss = eliminate(weight, inverse, 1, 1, steps)
    assert order.equal(theirs[0])
    torch.testing.assert_close(loss, theirs[1])
    assert loss.isinf().sum(1).tolist() == [size - steps] * len(weight)


@pytest.mark.parametrize("pattern", QUOTAS)
def test_brute_force(pattern: str) -> None:
    """Every candidate's rise of the loss from the constrained problem, solved anew."""
    (quota, group), size = QUOTAS[pattern], 8
    weight, fisher, inverse = problem(2, size)
    order, loss = eliminate(weight, inverse, quota, group, size // group * quota)
    for w, f, removals, losses in zip(weight.double(), fisher, order.tolist(), loss, strict=True):
        for k, chosen in enumerate(removals):
            before = removals[:k]
            free = [j for j in range(size) if j not in before]
            open_ones = [j for j in free if sum(i // group == j // group for i in before) < quota]
            rises = {j: rise(w, f, [*before, j]) for j in open_ones}
            assert chosen == min(rises, key=rises.__getitem__)
            assert float(losses[chosen]) == pytest.approx(rises[chosen], rel=1e-8)


def rise(weight: Tensor, fisher: Tensor, removed: list[int]) -> float:
    """Returns the loss increase when these weights go and the others take their best values."""
    stay = [j for j in range(len(weight)) if j not in removed]
    change = -weight.clone()
    change[stay] = torch.linalg.solve(fisher[stay][:, stay], fisher[stay][:, removed] @ weight[removed])
    return float(change @ fisher @ change / 2)


def test_few_blocks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, _, inverse = problem(3, 16)
    whole = eliminate(weight, inverse, 1, 1, 9)
    monkeypatch.setattr(cuda, "SCRATCH_BYTES", 1)
    parts = eliminate(weight, inverse, 1, 1, 9)
    assert all(one.equal(other) for one, other in zip(parts, whole, strict=True))


def test_equal_saliencies_go_by_index() -> None:
    weight = torch.tensor([[1.0, 0, 1, 0, 1], [2, 2, 1, 1, 0]])
    order, _ = eliminate(weight, torch.eye(5).repeat(2, 1, 1), 1, 1, 5)
    assert order.tolist() == [[1, 3, 0, 2, 4], [4, 2, 3, 0, 1]]


def test_twins_go_in_either_order_at_the_same_loss() -> None:
    """Weights in pairs of the same value and mirrored gradients: their saliencies differ by rounding alone."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(1, 16, 8, generator=generator, dtype=torch.float64)
    mirrored = half.roll(1, 2).flip(2)
    g = torch.cat([torch.cat([half, mirrored], 2), torch.cat([mirrored, half], 2)], 1)
    inverse = torch.linalg.inv(g.mT @ g / 32 + 1e-6 * torch.eye(16, dtype=torch.float64))
    weight = torch.randn(1, 8, generator=generator).repeat(1, 2)
    found = [function(weight, inverse, 1, 1, 16) for function in (eliminate, reference.eliminate_blocks)]
    ours, theirs = (loss.gather(1, order) for order, loss in found)
    torch.testing.assert_close(ours, theirs, rtol=16 * TIE_TOLERANCE, atol=0)


def test_an_indefinite_block_is_noticed() -> None:
    indefinite = torch.tensor([[[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]])
    assert eliminate(torch.ones(1, 3), indefinite, 1, 1, 3)[1].isnan().any()


@pytest.mark.skipif(not ON_CARD, reason="the interpreter is not what a card chooses")
@pytest.mark.parametrize("pattern", [None, cap.NM(2, 4)])
def test_a_card_chooses_the_kernel(pattern: cap.NM | None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[int]()
    kernel = cuda.eliminate_blocks
    monkeypatch.setattr(cuda, "eliminate_blocks", lambda *args: calls.append(1) or kernel(*args))
    weight, _, inverse = problem(BLOCKS, 64)
    ours = cap.eliminate(weight.to(DEVICE), inverse.to(DEVICE), pattern)
    theirs = cap.eliminate(weight, inverse, pattern)
    assert calls
    assert ours.order.cpu().equal(theirs.order)


@pytest.mark.skipif(not ON_CARD, reason="the interpreter would take minutes")
@pytest.mark.parametrize("size", list(itertools.islice((2**p for p in itertools.count(9)), 3)))
def test_blocks_as_large_as_layers(size: int) -> None:
    """As ExactOBS has them: a row is a block."""
    weight, _, inverse = problem(2, size)
    theirs = reference.eliminate_blocks(weight, inverse, 1, 1, 64)
    assert eliminate(weight, inverse, 1, 1, 64)[0].equal(theirs[0])
