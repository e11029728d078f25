from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import cap
from cap.kernels import batched


def problem(num_blocks: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random weights (num_blocks, size), Fisher blocks and their inverses."""
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(num_blocks, 2 * size, size, generator=generator, dtype=torch.float64)
    fisher = g.transpose(1, 2) @ g / (2 * size) + 1e-3 * torch.eye(size, dtype=torch.float64)
    weight = torch.randn(num_blocks, size, generator=generator, dtype=torch.float64)
    return weight, fisher, torch.linalg.inv(fisher)


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
