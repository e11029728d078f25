"""The greedy elimination against Algorithm 1 as printed."""

from __future__ import annotations

import functools

import plain
import pytest
import torch
from measuring import SMALL, Measure

from cap.kernels import batched, cpu

SHAPES = {
    "embedded ViT, 196,608 weights": (196_608, 64),
    "DeiT-T 192 x 768": (192 * 768, 192),
    "DeiT-S 384 x 1536": (384 * 1536, 192),
}


@functools.lru_cache(maxsize=1)
def problem(num_weights: int, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (num_blocks, B) and inverse Fisher blocks in single precision, as the plain version wants them."""
    num_blocks = max(1, num_weights // 512 // block_size) if SMALL else num_weights // block_size
    generator = torch.Generator().manual_seed(0)
    inverse = torch.empty(num_blocks, block_size, block_size)
    for part in range(0, num_blocks, 64):
        g = 1e-3 * torch.randn(min(64, num_blocks - part), 256, block_size, generator=generator, dtype=torch.float64)
        fisher = g.mT @ g / 256 + 1e-6 * torch.eye(block_size, dtype=torch.float64)
        inverse[part : part + 64] = torch.linalg.inv(fisher)
    return 0.05 * torch.randn(num_blocks, block_size, generator=generator), inverse


METHODS = {
    "Algorithm 1": plain.eliminate,
    "Algorithm 1, rank-one updates in place": functools.partial(plain.eliminate, in_place=True),
    "left-looking, torch": lambda w, h: batched.eliminate_blocks(w, h, 1, 1, w.shape[1]),
    "left-looking, compiled": lambda w, h: cpu.eliminate_blocks(w, h, 1, 1, w.shape[1]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_elimination(measure: Measure, shape: str, method: str) -> None:
    weight, inverse = problem(*SHAPES[shape])
    cpu.eliminate_blocks(weight[:2], inverse[:2], 1, 1, weight.shape[1])  # compiled before anything is timed
    group = f"elimination, {shape}, B = {weight.shape[1]}"
    measure(group, method, lambda: METHODS[method](weight, inverse), inverse_bytes=inverse.nbytes)


@pytest.mark.parametrize("method", ["Algorithm 1, rank-one updates in place", "left-looking, compiled"])
@pytest.mark.parametrize("num_weights", [2**p for p in range(13, 21)])
def test_growth_with_weights(measure: Measure, num_weights: int, method: str) -> None:
    weight, inverse = problem(num_weights // 64 * 64, 64)
    cpu.eliminate_blocks(weight[:2], inverse[:2], 1, 1, weight.shape[1])
    measure("growth: elimination with d, B = 64", method, lambda: METHODS[method](weight, inverse), x=weight.numel())


@pytest.mark.parametrize("method", ["Algorithm 1, rank-one updates in place", "left-looking, compiled"])
@pytest.mark.parametrize("block_size", [16, 32, 64, 128, 256])
def test_growth_with_block_size(measure: Measure, block_size: int, method: str) -> None:
    weight, inverse = problem(2**18, block_size)
    cpu.eliminate_blocks(weight[:2], inverse[:2], 1, 1, weight.shape[1])
    measure("growth: elimination with B, d = 262,144", method, lambda: METHODS[method](weight, inverse), x=block_size)
