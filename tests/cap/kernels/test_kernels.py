from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import cap
from cap.kernels import batched, cpu, cpu_solves, reference


def problem(num_blocks: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random weights (num_blocks, size), Fisher blocks and their inverses."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(num_blocks, 2 * size, size, generator=generator, dtype=torch.float64)
    fisher = g.transpose(1, 2) @ g / (2 * size) + 1e-3 * torch.eye(size, dtype=torch.float64)
    weight = torch.randn(num_blocks, size, generator=generator, dtype=torch.float64)
    return weight, fisher, torch.linalg.inv(fisher)


def best_weights(weight: torch.Tensor, fisher: torch.Tensor, removed: list[int]) -> torch.Tensor:
    """Minimises 1/2 (x - w)^T F (x - w) subject to x = 0 on the removed set, by solving for the rest."""
    stay = [j for j in range(len(weight)) if j not in removed]
    x = torch.zeros_like(weight)
    if stay:
        right = fisher[stay][:, removed] @ weight[removed]
        x[stay] = weight[stay] + torch.linalg.solve(fisher[stay][:, stay], right)
    return x


def rise(weight: torch.Tensor, fisher: torch.Tensor, removed: list[int]) -> float:
    change = best_weights(weight, fisher, removed) - weight
    return float(change @ fisher @ change / 2)


def brute_force(weight: torch.Tensor, fisher: torch.Tensor, quota: int = 1, group: int = 1) -> tuple[list, list]:
    """Greedy OBS with the constrained problem solved from scratch for every candidate at every removal."""
    removed: list[int] = []
    losses = [float("inf")] * len(weight)
    while True:
        gone = [sum(j // group == g for j in removed) for g in range(len(weight) // group)]
        candidates = [j for j in range(len(weight)) if j not in removed and gone[j // group] < quota]
        if not candidates:
            return removed, losses
        best = min(candidates, key=lambda j: rise(weight, fisher, [*removed, j]))
        removed.append(best)
        losses[best] = rise(weight, fisher, removed)


@pytest.mark.parametrize("kernel", [reference, batched, cpu])
@pytest.mark.parametrize(("quota", "group"), [(1, 1), (2, 4), (3, 4), (4, 8)])
def test_kernels_equal_brute_force(kernel, quota: int, group: int) -> None:
    weight, fisher, inverse = problem(3, 8)
    order, loss = kernel.eliminate_blocks(weight, inverse, quota, group, 8 // group * quota)
    for block in range(3):
        removed, losses = brute_force(weight[block], fisher[block], quota, group)
        assert order[block].tolist() == removed
        torch.testing.assert_close(loss[block], torch.tensor(losses, dtype=torch.float64), rtol=1e-8, atol=1e-10)


def test_kernels_agree_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, _, inverse = problem(9, 24, seed=3)
    whole = reference.eliminate_blocks(weight, inverse, 1, 1, weight.shape[1])
    monkeypatch.setattr(batched, "CHUNK_BYTES", 1)
    parts = batched.eliminate_blocks(weight, inverse, 1, 1, weight.shape[1])
    assert parts[0].equal(whole[0])
    torch.testing.assert_close(parts[1], whole[1])


def test_sums_are_the_same_a_few_blocks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = torch.randn(7, 5 * 6 + 4)[:, : 5 * 6]  # part of a larger room
    sums = [torch.zeros(5, 6, 6, dtype=torch.float64) for _ in range(2)]
    batched.add_gram(sums[0], gradients)
    monkeypatch.setattr(batched, "CHUNK_BYTES", 2 * 8 * 7 * 6)
    batched.add_gram(sums[1], gradients)
    assert sums[0].equal(sums[1])


def test_ties_and_zeros_go_by_position() -> None:
    weight = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])
    for kernel in (reference, batched, cpu):
        order, loss = kernel.eliminate_blocks(weight, torch.eye(5)[None], 1, 1, 5)
        assert order.tolist() == [[1, 3, 0, 2, 4]]
        assert loss.tolist() == [[0.5, 0, 1.0, 0, 1.5]]


@pytest.mark.parametrize(("num_blocks", "size"), [(1, 1), (7, 24), (3, 96)])
def test_compiled_kernel_equals_the_reference(num_blocks: int, size: int) -> None:
    weight, _, inverse = problem(num_blocks, size, seed=5)
    theirs = reference.eliminate_blocks(weight, inverse, 1, 1, weight.shape[1])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            order, loss = cpu.eliminate_blocks(weight, inverse, 1, 1, weight.shape[1])
            assert order.equal(theirs[0])
            torch.testing.assert_close(loss, theirs[1])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kernel", [reference, batched, cpu])
def test_fewer_steps_give_the_same_beginning(kernel) -> None:
    weight, _, inverse = problem(3, 20, seed=7)
    whole_order, whole_loss = kernel.eliminate_blocks(weight, inverse, 1, 1, 20)
    order, loss = kernel.eliminate_blocks(weight, inverse, 1, 1, 7)
    assert order.equal(whole_order[:, :7])
    assert loss.isinf().sum(1).tolist() == [13] * 3
    assert loss.gather(1, order).equal(whole_loss.gather(1, order))


def test_single_precision_inverse_takes_no_copy() -> None:
    weight, _, inverse = problem(4, 32)
    order, loss = cpu.eliminate_blocks(weight.float(), inverse.float(), 1, 1, 32)
    theirs = cpu.eliminate_blocks(weight.float().double(), inverse.float().double(), 1, 1, 32)
    assert order.equal(theirs[0])
    assert loss.equal(theirs[1])


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


@pytest.mark.parametrize("size", [1, 3, 16, 37])
@pytest.mark.parametrize("kernels", [batched, cpu_solves])
def test_solutions_against_dense_algebra(kernels, size: int) -> None:
    fisher, weight, order = spd(5, size)
    packed, coefficients = torch.empty(5, size * (size + 1) // 2), torch.empty(5, size, dtype=torch.float64)
    cpu.factor_blocks(fisher, order, weight, packed, coefficients)
    lower, vector = batched.unpack(packed, size), torch.randn(5, size, dtype=torch.float64)
    kept = vector.clone()
    torch.testing.assert_close((lower.mT @ kernels.solve_upper(packed, vector)[:, :, None])[:, :, 0], vector)
    torch.testing.assert_close((lower @ kernels.solve_lower(packed, vector)[:, :, None])[:, :, 0], vector)
    inverse = lower.mT @ lower
    for share in (0.0, 0.3, 0.9, 1.0):
        keep = torch.rand(5, size) < share
        ours, failed = kernels.joint_update(packed, vector, keep)
        assert not failed.any()
        assert not ours[~keep].any()
        for block in range(5):  # the least of d^T F d with d fixed where weights are removed
            gone = (~keep[block]).nonzero()[:, 0]
            step = inverse[block][:, gone] @ torch.linalg.solve(inverse[block][gone][:, gone], vector[block, gone])
            torch.testing.assert_close(ours[block], (vector[block] - step) * keep[block], rtol=1e-7, atol=1e-9)
    assert torch.equal(vector, kept), "the input is left as it is"
    packed[3] = torch.nan
    assert kernels.joint_update(packed, vector, torch.zeros(5, size, dtype=torch.bool))[1].tolist() == [
        False, False, False, True, False,
    ]  # fmt: skip


def test_starting_numba_leaves_torch_its_threads() -> None:
    """In a process of its own, since numba starts its threads once."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from cap.kernels.cpu import use_torch_threads\n"
        "use_torch_threads(); assert torch.get_num_threads() == 1, torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_NUM_THREADS": "2"}, check=True)
