"""The whole fit of CAP beside its floor, and where the rest goes."""

from __future__ import annotations

import functools

import pytest
import timm
import torch
from floor import measure_floor, profiled
from measuring import SMALL, Measure, setting
from torch import nn

import cap

GIB = 2**30
Setting = tuple[nn.Module, dict[str, nn.Parameter], torch.Tensor, torch.Tensor]
TRANSFORMER = (r".*(attn.(qkv|proj)|mlp.fc\d+).weight",)
# timm's name, layers; random weights and images: neither matters to time and memory
LARGE = {
    "DeiT-T": ("deit_tiny_patch16_224", TRANSFORMER),
    "DeiT-S": ("deit_small_patch16_224", TRANSFORMER),
    "ResNet-50": ("resnet50", (r"layer\d.*conv\d.weight",)),
}
SMALLER = {"DeiT-T": {"depth": 1, "embed_dim": 48}, "DeiT-S": {"depth": 1, "embed_dim": 48}, "ResNet-50": {}}


@functools.lru_cache(maxsize=1)
def large(name: str) -> Setting:
    torch.manual_seed(0)
    timm_name, patterns = LARGE[name]
    m, size = (8, 32) if SMALL else (256, 224)
    smaller = SMALLER[name] if SMALL else {}
    if timm_name.startswith("deit"):
        smaller = {"img_size": size, **smaller}
    elif SMALL:
        patterns = (r"layer1.0.conv\d.weight",)
    model = timm.create_model(timm_name, **smaller).eval()
    return model, cap.select_layers(model, patterns), torch.randn(m, 3, size, size), torch.randint(0, 1000, (m,))


def measure_fit(measure: Measure, benchmark, name: str, setting: Setting, block_size: int) -> None:  # type: ignore
    model, layers, images, labels = setting
    calibration = cap.Calibration(images, labels, batch_size=64)
    calibration.memory_budget = 16 * GIB
    first = dict(list(layers.items())[:1])
    create(block_size).fit(model, first, cap.Calibration(images[:8], labels[:8]))  # compiled before it is timed
    plan = create(block_size).plan(model, layers, calibration)
    assert plan is not None
    floor = measure_floor(model, layers, images, labels, plan.forward_images, block_size)
    found = {}

    def fit() -> None:
        with profiled(torch.device("cpu")) as profile:
            create(block_size).fit(model, layers, calibration)
        found.update(profile.as_columns(floor))

    group = f"CAP fit beside its floor, {name}, {len(images):,} gradients, B = {block_size}"
    measure(group, "CAP", fit, rounds=1, passes=len(plan.passes))
    benchmark.extra_info |= found


def create(block_size: int) -> cap.Pruner:
    return cap.create("cap", block_size=block_size, damp=1e-6)


@pytest.mark.parametrize("name", ["vit", "convnext", "xcit", "dino"])
def test_embedded_models(measure: Measure, benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    model, layers, images, labels = setting(name)
    half = len(images) // 2
    measure_fit(measure, benchmark, f"embedded {name}", (model, layers, images[:half], labels[:half]), 64)


@pytest.mark.parametrize("name", LARGE)
def test_large_models(measure: Measure, benchmark, name: str) -> None:  # type: ignore[no-untyped-def]
    measure_fit(measure, benchmark, name, large(name), 192)
