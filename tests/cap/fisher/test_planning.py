from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

import cap
from cap.fisher import blocks, planning
from cap.fisher.planning import activation_bytes, partition_layers


def fit(model, layers, calibration, budget: int | None, name: str = "cap") -> cap.Pruner:
    calibration.memory_budget = budget
    return cap.create(name, block_size=8, damp=1e-4).fit(model, layers, calibration)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes even the layers of a tiny model large: several parts a layer, hardly any scratch."""
    monkeypatch.setattr(planning, "PART_BYTES", 2**14)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 2**12)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize("name", ["cap", "woodfisher"])
def test_result_does_not_depend_on_the_budget(small_parts, model, layers, calibration, name, gradient) -> None:
    calibration.gradient, calibration.batch_size = gradient, 4
    pruner = cap.create(name, block_size=8, damp=1e-4)
    plans = {}
    pruned = {}
    for budget in (2**32, 180_000):
        calibration.memory_budget = budget
        plans[budget] = pruner.plan(model, layers, calibration)
        assert plans[budget].peak_bytes <= budget
        whole = fit(model, layers, calibration, budget, name)
        pruned[budget] = [whole.prune(cap.Unstructured(s)) for s in (0.3, 0.8)]
    counts = [len(plan.passes) for plan in plans.values()]
    assert counts[0] == 1
    assert counts[1] > 1
    for large, small in zip(*pruned.values(), strict=True):
        assert all(large.weights[n].equal(small.weights[n]) for n in layers)


def test_parts_hold_whole_outputs_and_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PART_BYTES", 10_000)
    layers = {"a": torch.empty(64, 48), "b": torch.empty(7, 5, 3, 3), "c": torch.empty(2, 3)}
    parts = partition_layers(layers, block_size=16, per_weight=100)
    for name, weight in layers.items():
        own = [part for part in parts if part.name == name]
        assert [part.start for part in own] == [0, *(part.stop for part in own[:-1])]
        assert own[-1].stop == weight.numel()
        assert all(part.start % 16 == 0 and part.start % weight[0].numel() == 0 for part in own)
    assert len([part for part in parts if part.name == "a"]) == 32


def test_a_budget_that_is_too_small_is_an_error_before_any_work(model, layers, calibration) -> None:
    def explode(*args: object) -> None:
        raise AssertionError("work has begun")

    calibration.loss = explode
    with pytest.raises(
        ValueError, match=r"memory budget of 0.00 GiB is too small, 0\.\d\d GiB are needed.*block size \(now 8"
    ):
        fit(model, layers, calibration, 1000)
    calibration.gradient = "batch"
    with pytest.raises(ValueError, match=r"or the batch size \(now 20\)"):
        fit(model, layers, calibration, 1000)


def test_images_at_a_time(model, layers, calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the calibration says, fewer where a pass would hold too much; of which the budget is no part."""
    calibration.memory_budget = 2**32
    plan = cap.create("cap", block_size=8).plan(model, layers, calibration)
    assert "1 pass over 48 gradients, 20 images at a time" in str(plan)
    per_image = activation_bytes(model, layers, calibration)
    monkeypatch.setattr(planning, "ACTIVATION_BYTES", 6 * per_image)
    for budget in (2**32, 2**29):
        calibration.memory_budget = budget
        assert cap.create("cap", block_size=8).plan(model, layers, calibration).forward_images == 5


def test_activations_are_those_that_a_pass_holds() -> None:
    model = nn.Sequential(nn.Linear(1000, 2000), nn.ReLU(), nn.Linear(2000, 10))
    calibration = cap.Calibration(torch.randn(50, 1000), torch.zeros(50, dtype=torch.long))
    layers = cap.select_layers(model, [r"[02].weight"])
    # inputs of both layers, output gradients of both, the softmax' input is no matter of the model; a quarter more
    held = 4 * (1000 + 2000 + 2000 + 10)
    assert held <= activation_bytes(model, layers, calibration) <= 1.5 * held


class Counting(cap.Calibration):
    passes = 0

    def gradient_batches(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.passes += 1
        return super().gradient_batches(*args, **kwargs)


def test_statistics_are_shared_between_pruners(model, layers, calibration) -> None:
    pattern, names = cap.Unstructured(0.7), ("woodfisher", "cap")
    alone = {name: fit(model, layers, calibration, None, name).prune(pattern) for name in names}
    shared = Counting(calibration.images, calibration.labels, batch_size=20, share=True)
    for name in names:
        pruned = fit(model, layers, shared, None, name).prune(pattern)
        assert all(pruned.weights[n].equal(alone[name].weights[n]) for n in layers)
    assert shared.passes == 1
    assert shared.seconds_saved > 0
    cap.create("cap", block_size=16).fit(model, layers, shared)
    assert shared.passes == 2, "other blocks, other sums"
    with torch.no_grad():
        model.head.bias += 1
    cap.create("cap", block_size=16).fit(model, layers, shared)
    assert shared.passes == 3, "another model"
    with pytest.raises(ValueError, match="too small"):
        fit(model, layers, shared, 1000)


def test_nothing_is_kept_unless_asked_for(model, layers, calibration) -> None:
    fit(model, layers, calibration, None)
    assert (calibration.computed, calibration.shared_bytes, calibration.seconds_saved) == (0, 0, 0)


# timm's name, GiB; a fit with B = 192 is wanted within
LARGE = {"deit_small_patch16_224": 4, "deit_base_patch16_224": 16, "vit_large_patch16_224": 24,
         "vit_large_patch14_dinov2": 24}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_large_models_are_planned_within_small_memory(name: str) -> None:
    """On the meta device: the plan needs shapes alone."""
    with torch.device("meta"):
        model = timm.create_model(name, img_size=224)
    layers = cap.select_layers(model, [r".*(attn.(qkv|proj)|mlp.fc\d+).weight"])
    calibration = cap.Calibration(torch.zeros(1, 3, 224, 224).expand(1024, -1, -1, -1), torch.zeros(1024).long())
    calibration.memory_budget = LARGE[name] * 2**30
    plan = cap.create("cap", block_size=192).plan(model, layers, calibration)
    assert plan is not None
    assert plan.peak_bytes <= calibration.memory_budget
    assert not plan.keeps_factors
    assert f"of {LARGE[name]}.00 GiB memory" in str(plan)
    calibration.memory_budget = 2**38
    assert cap.create("cap", block_size=192).plan(model, layers, calibration).keeps_factors


def test_a_plan_on_the_meta_device_is_that_with_values(model, layers, calibration) -> None:
    pruner = cap.create("cap", block_size=8)
    calibration.memory_budget = 2**30
    expected = pruner.plan(model, layers, calibration)
    assert expected is not None
    shapes = copy.deepcopy(model).to("meta")
    found = pruner.plan(shapes, {name: shapes.get_parameter(name) for name in layers}, calibration)
    copies = found.peak_bytes - expected.peak_bytes  # what batched torch takes beside the compiled kernels
    assert 0 <= copies <= planning.COPIES * blocks.chunk_bytes(100, 8)
    assert found.passes == expected.passes
