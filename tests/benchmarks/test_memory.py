"""Fits within small memory, and the most that the process took."""

from __future__ import annotations

import pytest
import timm
import torch
from measuring import SMALL, Measure

import cap

GIB = 2**30
# timm's name, layers, GiB: two blocks of ViT-L are of the size of all of DeiT-S, with its wider layers
CASES = {
    "DeiT-S": ("deit_small_patch16_224", r".*(attn.(qkv|proj)|mlp.fc\d+).weight", 4),
    "two blocks of ViT-L": ("vit_large_patch16_224", r"blocks.(0|23).(attn.(qkv|proj)|mlp.fc\d+).weight", 4),
}
SMALLER = {"img_size": 32, "embed_dim": 48, "num_heads": 3, "depth": 1}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_within_memory(measure: Measure, benchmark, case: str) -> None:  # type: ignore[no-untyped-def]
    name, pattern, gib = CASES[case]
    torch.manual_seed(0)
    model = timm.create_model(name, **(SMALLER if SMALL else {})).eval()
    layers = cap.select_layers(model, [pattern])
    m, size = (8, 32) if SMALL else (256, 224)
    calibration = cap.Calibration(torch.randn(m, 3, size, size), torch.randint(0, 1000, (m,)), batch_size=64)
    calibration.memory_budget = gib * GIB
    pruner = cap.create("cap", block_size=192, damp=1e-8)
    plan = pruner.plan(model, layers, calibration)
    assert plan is not None
    assert SMALL or not plan.keeps_factors

    def fit_and_prune() -> cap.PrunedWeights:
        pruner.fit(model, layers, calibration)
        pruner.expect([cap.Unstructured(0.5), cap.Unstructured(0.75)])
        return pruner.prune(cap.Unstructured(0.75))

    group = f"CAP fit and prune, {case}, {m} gradients, B = 192, within {gib} GiB"
    passes, planned = len(plan.passes), plan.peak_bytes
    pruned = measure(group, "CAP", fit_and_prune, rounds=1, passes=passes, planned_bytes=planned)
    assert pruned.sparsity == pytest.approx(0.75, abs=1e-6)
    taken = benchmark.extra_info["peak_extra_bytes"]
    assert SMALL or taken is None or taken <= gib * GIB
