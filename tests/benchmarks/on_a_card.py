"""The pruning core on a card: against plain versions there, and against itself on the CPU; `nox -s gpu_benchmark`.

With `CAPBENCH_BENCHMARK_SIZE=small` and no card everything runs on the CPU, at sizes that mean nothing.
"""

from __future__ import annotations

import functools

import plain
import pytest
import timm
import torch
from floor import measure_floor, profiled
from measuring import DEVICE, SMALL, Measure
from torch import nn

import cap
from cap.kernels import batched, eliminator

CPU = torch.device("cpu")
LAYERS = r"(attn.(qkv|proj)|mlp.fc\d+).weight"
MODELS = {"DeiT-S": ("deit_small_patch16_224", 192), "ViT-L": ("vit_large_patch16_224", 192)}
ONE_BLOCK = r"blocks.0."  # what the CPU and the plain loop are measured on: all of ViT-L would take hours


@functools.lru_cache(maxsize=1)
def problem(num_weights: int, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (num_blocks, B) and inverse Fisher blocks in single precision."""
    num_blocks = max(1, num_weights // 512 // block_size) if SMALL else num_weights // block_size
    torch.manual_seed(0)
    g = 1e-3 * torch.randn(num_blocks, 2 * block_size, block_size, device=DEVICE)
    fisher = g.mT @ g / len(g[0]) + 1e-6 * torch.eye(block_size, device=DEVICE)
    return 0.05 * torch.randn(num_blocks, block_size, device=DEVICE), torch.linalg.inv(fisher)


def multiply_adds(weight: torch.Tensor) -> float:
    """Of the elimination: a row less one entry for each of those before it."""
    num_blocks, size = weight.shape
    return num_blocks * float(size) ** 3 / 6


ELIMINATIONS = {
    "Algorithm 1": lambda w, h: plain.eliminate(w, h),
    "Algorithm 1, rank-one updates in place": lambda w, h: plain.eliminate(w, h, in_place=True),
    "left-looking, torch": lambda w, h: batched.eliminate_blocks(w, h, 1, 1, w.shape[1]),
    "left-looking, compiled": lambda w, h: eliminator(DEVICE)(w, h, 1, 1, w.shape[1]),
    "left-looking, compiled, on the CPU": lambda w, h: eliminator(CPU)(w.cpu(), h.cpu(), 1, 1, w.shape[1]),
}


@pytest.mark.parametrize("method", ELIMINATIONS)
@pytest.mark.parametrize("block_size", [64, 192])
def test_elimination(measure: Measure, block_size: int, method: str) -> None:
    weight, inverse = problem(384 * 1536, block_size)
    ELIMINATIONS[method](weight[:2], inverse[:2])  # compiled before anything is timed
    group = f"on a card: elimination, DeiT-S 384 x 1536, B = {block_size}"
    measure(group, method, lambda: ELIMINATIONS[method](weight, inverse), work=multiply_adds(weight))


def block_fisher(rows: torch.Tensor, block_size: int) -> torch.Tensor:
    fisher = cap.BlockFisher(rows.shape[1], block_size, 1e-6, rows.device)
    for part in rows.split(64):
        fisher.update(part)
    return fisher.inverse()


FISHERS = {
    "Sherman-Morrison": lambda rows: plain.sherman_morrison(rows, 192, 1e-6),
    "Sherman-Morrison, in place": lambda rows: plain.sherman_morrison(rows, 192, 1e-6, in_place=True),
    "BlockFisher": lambda rows: block_fisher(rows, 192),
    "BlockFisher, on the CPU": lambda rows: block_fisher(rows.cpu(), 192),
}


@pytest.mark.parametrize("method", FISHERS)
@pytest.mark.parametrize("m", [64, 256, 1024])
def test_inverse(measure: Measure, m: int, method: str) -> None:
    num_weights = 192 * (2 if SMALL else 3072)
    rows = 1e-3 * torch.randn(max(2, m // 64) if SMALL else m, num_weights, device=DEVICE)
    FISHERS[method](rows[:, :384])
    group = f"on a card: inverse Fisher, DeiT-S 384 x 1536, {m:,} gradients, B = 192"
    measure(group, method, lambda: FISHERS[method](rows), rounds=1 if method.startswith("Sherman") else 3)


@functools.lru_cache(maxsize=1)
def network(name: str) -> nn.Module:
    smaller = {"img_size": 32, "embed_dim": 48, "num_heads": 3, "depth": 1} if SMALL else {}
    torch.manual_seed(0)
    return timm.create_model(MODELS[name][0], **smaller).eval()


@pytest.mark.parametrize("what", ["one block", "whole"])
@pytest.mark.parametrize("method", ["plain", "CAP", "CAP, on the CPU"])
@pytest.mark.parametrize("name", MODELS)
def test_fit(measure: Measure, benchmark, name: str, method: str, what: str) -> None:  # type: ignore[no-untyped-def]
    """The release's loop has room for one layer at a time; the whole of ViT-L is fitted on the card alone."""
    place = CPU if method.endswith("CPU") else DEVICE
    if what == "whole" and (method != "CAP" if name == "ViT-L" else place == CPU):
        pytest.skip("it would take hours")
    block_size, (m, size) = MODELS[name][1], (8, 32) if SMALL else (256, 224)
    model = network(name).to(place)
    layers = cap.select_layers(model, [(ONE_BLOCK if what == "one block" else r".*") + LAYERS])
    images, labels = torch.randn(m, 3, size, size), torch.randint(0, 1000, (m,))
    group = f"on a card: CAP fit, {what} of {name}, {m} gradients, B = {block_size}"
    if method == "plain":
        images, labels = images.to(place), labels.to(place)
        measure(group, method, lambda: plain.fit(model, layers, images, labels, block_size, 1e-6), rounds=1)
        return
    calibration = cap.Calibration(images, labels, batch_size=64)
    pruner = cap.create("cap", block_size=block_size, damp=1e-6)
    first = dict(list(layers.items())[:1])
    pruner.fit(model, first, cap.Calibration(images[:8], labels[:8]))  # compiled before it is timed
    plan = pruner.plan(model, layers, calibration)
    assert plan is not None
    floor = measure_floor(model, layers, images, labels, plan.forward_images, block_size)
    found = {}

    def fit() -> None:
        with profiled(place) as profile:
            pruner.fit(model, layers, calibration)
        found.update(profile.as_columns(floor))

    measure(group, method, fit, rounds=1, place=place, passes=len(plan.passes), planned_bytes=plan.peak_bytes)
    benchmark.extra_info |= found | {"share_of_peak": 1 / found["over_floor"]}
