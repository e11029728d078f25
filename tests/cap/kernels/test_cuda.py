"""The Triton kernel as far as it can be tested without a card; what it computes: tests/gpu/triton_kernel.py."""

from __future__ import annotations

import logging

import pytest
import torch

from cap import kernels


@pytest.mark.parametrize(("capability", "size"), [(80, 192), (90, 192), (80, 4096)])
def test_triton_kernel_compiles_for_cuda(capability: int, size: int, tmp_path, monkeypatch) -> None:
    """No GPU is needed for compiling: Triton brings its own assembler."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cap.kernels import cuda

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = {"weight": "*fp32", "inverse": "*fp64", "order": "*i64", "loss": "*fp64", "rows": "*fp64"}
    padded = triton.next_power_of_2(size)
    constants = {"size": size, "padded": padded, "group": 1, "tile": cuda.tile_rows(padded)}
    signature = {**pointers, "steps": "i32", "quota": "i32", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(fn=cuda.elimination_kernel, signature=signature, constexprs=constants)
    options = {"num_warps": cuda.warps(padded)}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert len(compiled.asm["cubin"]) > 1000
    assert compiled.metadata.shared < 48 * 2**10, "what a multiprocessor of any card has"


def test_without_a_c_compiler_the_elimination_runs_in_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    kernels.has_triton.cache_clear()
    with caplog.at_level(logging.WARNING):
        chosen = [kernels.eliminator(torch.device("cuda", 0)) for _ in range(2)]
    kernels.has_triton.cache_clear()
    assert chosen == [kernels.batched.eliminate_blocks] * 2
    assert [record.message for record in caplog.records] == [
        "the elimination runs in plain torch, which is slower: Triton needs a C compiler (gcc, clang or CC)"
    ]
