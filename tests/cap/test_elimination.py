from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import cap
from cap.kernels import batched, cpu, reference


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


def test_an_inverse_that_is_not_positive_definite_is_an_error() -> None:
    inverse = torch.stack([torch.eye(4), torch.tensor([[1.0, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])])
    with pytest.raises(ValueError, match="inverse of block 1 is not positive definite"):
        cap.eliminate(torch.ones(2, 4), inverse)


def test_cumulative_loss_never_falls() -> None:
    weight, _, inverse = problem(4, 16, seed=1)
    order, loss = cap.eliminate(weight, inverse)
    assert (loss.gather(1, order).diff(dim=1) >= 0).all()


def test_compensation_is_optimal_for_any_mask() -> None:
    weight, fisher, inverse = problem(5, 12, seed=2)
    keep = torch.rand(5, 12, generator=torch.Generator().manual_seed(0)) < 0.5
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


@pytest.mark.parametrize("kernel", [reference, batched, cpu])
def test_fewer_steps_give_the_same_beginning(kernel) -> None:
    weight, _, inverse = problem(3, 20, seed=7)
    whole_order, whole_loss = kernel.eliminate_blocks(weight, inverse, 1, 1, 20)
    order, loss = kernel.eliminate_blocks(weight, inverse, 1, 1, 7)
    assert order.equal(whole_order[:, :7])
    assert loss.isinf().sum(1).tolist() == [13] * 3
    assert loss.gather(1, order).equal(whole_loss.gather(1, order))


def test_max_sparsity() -> None:
    weight, _, inverse = problem(2, 16)
    assert cap.eliminate(weight, inverse, max_sparsity=0.3).order.shape == (2, 5)
    assert cap.eliminate(weight, inverse, cap.NM(2, 4), max_sparsity=0.9).order.shape == (2, 8)
    with pytest.raises(ValueError, match=r"max_sparsity 1\.5 is not valid"):
        cap.eliminate(weight, inverse, max_sparsity=1.5)


def test_single_precision_inverse_takes_no_copy() -> None:
    weight, _, inverse = problem(4, 32)
    order, loss = cpu.eliminate_blocks(weight.float(), inverse.float(), 1, 1, 32)
    theirs = cpu.eliminate_blocks(weight.float().double(), inverse.float().double(), 1, 1, 32)
    assert order.equal(theirs[0])
    assert loss.equal(theirs[1])


def test_compensation_of_an_indefinite_inverse_is_an_error() -> None:
    inverse = torch.stack([torch.eye(2), torch.tensor([[1.0, 2], [2, 1]])])
    with pytest.raises(ValueError, match="inverse of block 1 is not positive definite"):
        cap.compensate(torch.ones(2, 2), inverse, torch.zeros(2, 2, dtype=torch.bool))


INTERPRETED = """
import torch
from cap.kernels import cuda, reference
torch.manual_seed(0)
# more steps than a tile; groups; fewer steps than weights
for num_blocks, size, quota, group, steps in [(1, 20, 1, 1, 20), (2, 8, 2, 4, 4), (2, 40, 1, 1, 9)]:
    g = torch.randn(num_blocks, 2 * size, size, dtype=torch.float64)
    inverse = torch.linalg.inv(g.mT @ g / (2 * size) + 1e-3 * torch.eye(size, dtype=torch.float64))
    weight = torch.randn(num_blocks, size)
    for kind in (torch.float32, torch.float64):
        order, loss = cuda.eliminate_blocks(weight, inverse.to(kind), quota, group, steps)
        theirs = reference.eliminate_blocks(weight, inverse.to(kind), quota, group, steps)
        assert order.equal(theirs[0]), (size, quota, group)
        torch.testing.assert_close(loss, theirs[1])
cuda.SCRATCH_BYTES = 1  # one block at a time
order, loss = cuda.eliminate_blocks(weight, inverse, 1, 1, 9)
assert order.equal(theirs[0])
order, loss = cuda.eliminate_blocks(torch.tensor([[1.0, 0, 1, 0, 1]]), torch.eye(5)[None], 1, 1, 5)
assert order.tolist() == [[1, 3, 0, 2, 4]]
indefinite = torch.tensor([[[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]])
assert cuda.eliminate_blocks(torch.ones(1, 3), indefinite, 1, 1, 3)[1].isnan().any()
print("equal")
"""


def test_triton_kernel_equals_the_reference_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERPRETED], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.parametrize("capability", [80, 90])
def test_triton_kernel_compiles_for_cuda(capability: int, tmp_path, monkeypatch) -> None:
    """No GPU is needed for compiling: Triton brings its own assembler."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cap.kernels import cuda

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {"weight": "*fp32", "inverse": "*fp64", "order": "*i64", "loss": "*fp64", "rows": "*fp64"}
    constants = {"size": 192, "padded": triton.next_power_of_2(192), "group": 1, "tile": cuda.TILE}
    signature = {**pointers, "steps": "i32", "quota": "i32", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=cuda.elimination_kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert len(compiled.asm["cubin"]) > 1000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [24, 192, 256])
def test_triton_kernel_equals_the_reference_on_cuda(size: int) -> None:
    weight, _, inverse = problem(300, size)
    theirs = batched.eliminate_blocks(weight.cuda(), inverse.cuda(), 1, 1, size)
    order, loss = cap.eliminate(weight.cuda(), inverse.cuda())
    assert order.equal(theirs[0])
    torch.testing.assert_close(loss, theirs[1])
