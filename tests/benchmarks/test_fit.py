"""The whole fit of CAP."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import plain
import pytest
import timm
import torch
from measuring import SMALL, Measure, setting
from torch import nn

import cap

GIB = 2**30


@functools.lru_cache(maxsize=1)
def deit(patterns: tuple[str, ...]) -> tuple[nn.Module, dict[str, nn.Parameter], torch.Tensor, torch.Tensor]:
    """DeiT-Tiny with random weights on random images: neither matters to time and memory."""
    torch.manual_seed(0)
    m, size, smaller = (8, 32, {"depth": 1, "embed_dim": 48}) if SMALL else (256, 224, {})
    model = timm.create_model("deit_tiny_patch16_224", img_size=size, **smaller).eval()
    return model, cap.select_layers(model, patterns), torch.randn(m, 3, size, size), torch.randint(0, 1000, (m,))


def calibration(images: torch.Tensor, labels: torch.Tensor) -> cap.Calibration:
    return cap.Calibration(images, labels, batch_size=64)


def options(block_size: int, damp: float) -> Callable[[], cap.Pruner]:
    return lambda: cap.create("cap", block_size=block_size, damp=damp)


@pytest.mark.parametrize("method", ["plain", "CAP"])
@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_fit_of_embedded_models(measure: Measure, name: str, method: str) -> None:
    model, layers, images, labels = setting(name)
    m = len(images) // 2
    _fit(
        measure, f"CAP fit, embedded {name}, {m:,} gradients, B = 64", method, model, layers, images[:m], labels[:m], 64
    )


@pytest.mark.parametrize("method", ["plain", "CAP"])
def test_fit_of_one_deit_block(measure: Measure, method: str) -> None:
    model, layers, images, labels = deit((r"blocks.0.(attn.(qkv|proj)|mlp.fc\d).weight",))
    group = f"CAP fit, one block of DeiT-T, {len(images)} gradients, B = 192"
    _fit(measure, group, method, model, layers, images, labels, 192, rounds=1)


def _fit(measure, group, method, model, layers, images, labels, block_size, rounds=3) -> None:  # type: ignore
    if method == "plain":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            measure(group, method, lambda: plain.fit(model, layers, images, labels, block_size, 1e-6), rounds=rounds)
    else:
        create = options(block_size, 1e-6)
        create().fit(model, dict(list(layers.items())[:1]), calibration(images[:8], labels[:8]))  # compiled
        measure(group, method, lambda: create().fit(model, layers, calibration(images, labels)), rounds=rounds)


@pytest.mark.parametrize("name", ["vit", "convnext"])
@pytest.mark.parametrize("step", ["fit", "prune"])
def test_another_sparsity(measure: Measure, name: str, step: str) -> None:
    model, layers, images, labels = setting(name)
    m = len(images) // 2
    pruner = options(64, 1e-8)().fit(model, layers, calibration(images[:m], labels[:m]))
    steps = {
        "fit": lambda: options(64, 1e-8)().fit(model, layers, calibration(images[:m], labels[:m])),
        "prune": lambda: pruner.prune(cap.Unstructured(0.75)),
    }
    measure(f"CAP, embedded {name}: prune after fit, {m:,} gradients, B = 64", step, steps[step])


weights: dict[int, dict[str, torch.Tensor]] = {}


@pytest.mark.parametrize("budget", [16, 4])
def test_whole_deit_within_a_budget(measure: Measure, budget: int) -> None:
    model, layers, images, labels = deit((r".*(attn.(qkv|proj)|mlp.fc\d+).weight",))
    create = options(192, 1e-8)
    within = calibration(images, labels)
    within.memory_budget = budget * GIB
    plan = create().plan(model, layers, within)
    group = f"CAP fit, DeiT-T, {len(images)} gradients, B = 192, within a memory budget"
    pruner = measure(
        group,
        f"{budget} GiB",
        lambda: create().fit(model, layers, within),
        rounds=1,
        passes=len(plan.passes),
        planned_bytes=plan.peak_bytes,
    )
    assert plan.peak_bytes <= budget * GIB
    weights[budget] = pruner.prune(cap.Unstructured(0.75)).weights
    for name, weight in weights.get(16, {}).items():
        torch.testing.assert_close(weights[budget][name], weight, rtol=0, atol=1e-5)
