"""Dampening in the scale of the Fisher: by matrices, whatever the memory, and without units."""

from __future__ import annotations

import pytest
import torch

import cap
from cap.fisher import blocks, planning
from cap.fisher.blocks import split_blocks
from cap.fisher.dampening import Dampening

PRUNERS = ["cap", "woodfisher", "obert", "chita", "mfac"]
LAYERS = r"(qkv|fc\d).weight"


def all_gradients(model, layers, calibration) -> dict[str, torch.Tensor]:
    batches = list(calibration.gradients(model, layers))
    return {name: torch.cat([batch[name] for batch in batches]).double() for name in layers}


def inverse_diagonals(name: str, scale: str, rows: dict[str, torch.Tensor], value: float, size: int) -> torch.Tensor:
    """Diagonal of the inverse of one layer's dense Fisher, block after block."""
    own = rows[name]
    found = []
    mean = float(torch.cat([r.square().mean(0) for r in rows.values()]).mean())
    for g in own.split(size, dim=1):
        fisher = g.T @ g / len(g)
        ridge = value * (mean if scale == "relative" else float(fisher.trace()) / len(g) ** 0.5)
        found.append(torch.linalg.inv(fisher + ridge * torch.eye(g.shape[1], dtype=g.dtype)).diagonal())
    return torch.cat(found)


@pytest.mark.parametrize("scale", ["relative", "noise"])
@pytest.mark.parametrize("name", ["woodfisher", "obert", "mfac"])
@pytest.mark.parametrize("size", [16, 64], ids=["sums", "gradients"])
def test_saliencies_are_those_of_the_dense_matrices(size, name, scale, model, calibration) -> None:
    layers = cap.select_layers(model, [LAYERS])
    options = {"span_layers": False} if name == "mfac" else {}
    pruner = cap.create(name, block_size=size, damp=0.02, damp_scale=scale, **options).fit(model, layers, calibration)
    rows = all_gradients(model, layers, calibration)
    for layer, weight in layers.items():
        expected = weight.detach().flatten().double() ** 2 / (2 * inverse_diagonals(layer, scale, rows, 0.02, size))
        torch.testing.assert_close(pruner.importance[layer].flatten(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("scale", ["relative", "noise"])
@pytest.mark.parametrize("name", PRUNERS)
def test_a_loss_in_other_units_gives_the_same(name, scale, model, calibration) -> None:
    layers = cap.select_layers(model, [LAYERS])
    scaled = cap.Calibration(
        calibration.images,
        calibration.labels,
        lambda outputs, labels: 1000 * torch.nn.functional.cross_entropy(outputs, labels),
        batch_size=20,
    )
    one, other = (
        cap.create(name, block_size=16, damp=0.02, damp_scale=scale).fit(model, layers, images).prune(0.7)
        for images in (calibration, scaled)
    )
    for layer in layers:
        assert one.masks[layer].equal(other.masks[layer])
        torch.testing.assert_close(one.weights[layer], other.weights[layer], rtol=1e-4, atol=1e-6)


def test_an_absolute_dampening_depends_on_the_units(model, calibration) -> None:
    layers = cap.select_layers(model, [LAYERS])
    scaled = cap.Calibration(
        calibration.images, calibration.labels, lambda o, t: 1000 * torch.nn.functional.cross_entropy(o, t)
    )
    one, other = (
        cap.create("cap", block_size=16, damp=1e-3).fit(model, layers, images).prune(0.7)
        for images in (calibration, scaled)
    )
    assert not all(one.masks[layer].equal(other.masks[layer]) for layer in layers)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize("scale", ["relative", "noise"])
def test_result_does_not_depend_on_the_budget(scale, gradient, model, layers, calibration, monkeypatch) -> None:
    monkeypatch.setattr(planning, "PART_BYTES", 2**14)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 2**12)
    calibration.gradient, calibration.batch_size = gradient, 4
    with torch.no_grad():
        model.fc1.weight[:4] = 0
    found = []
    for budget in (2**32, 180_000):
        calibration.memory_budget = budget
        pruner = cap.create("cap", block_size=8, damp=0.02, damp_scale=scale)
        found.append(
            (len(pruner.plan(model, layers, calibration).passes), pruner.fit(model, layers, calibration).prune(0.8))
        )
    (one, large), (several, small) = found
    assert one == 1 < several
    assert all(large.weights[name].equal(small.weights[name]) for name in layers)


def test_weights_that_are_zero_do_not_count(model, calibration) -> None:
    """The mean is over those that are left: a pruned model is not dampened less."""
    layers = {"fc1.weight": model.fc1.weight}
    with torch.no_grad():
        model.fc1.weight[:8] = 0
    pruner = cap.create("woodfisher", block_size=8, damp=0.02, damp_scale="relative").fit(model, layers, calibration)
    rows = all_gradients(model, layers, calibration)["fc1.weight"][:, 64:]
    mean = float(rows.square().mean())
    blocks_left = split_blocks(model.fc1.weight.detach()[8:].double(), 8)
    for number, (w, g) in enumerate(zip(blocks_left, rows.split(8, 1), strict=True)):
        fisher = g.T @ g / len(g) + 0.02 * mean * torch.eye(8, dtype=torch.float64)
        expected = w**2 / 2 / torch.linalg.inv(fisher).diagonal()
        torch.testing.assert_close(pruner.importance["fc1.weight"][8 + number], expected, rtol=1e-4, atol=0)


def test_a_block_without_gradients_is_of_no_use() -> None:
    model = torch.nn.Linear(8, 2, bias=False)
    images = torch.randn(30, 8)
    images[:, 4:] = 0
    calibration = cap.Calibration(images, torch.randint(0, 2, (30,)))
    pruner = cap.create("cap", block_size=4, damp=0.02, damp_scale="noise")
    pruned = pruner.fit(model, {"weight": model.weight}, calibration).prune(0.5)
    assert not pruned.masks["weight"][:, 4:].any()
    assert pruned.weights["weight"].isfinite().all()


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="damp_scale='percent' is not valid: choose from absolute, relative, noise"):
        cap.create("cap", damp_scale="percent")
    with pytest.raises(ValueError, match=r"the mean square of the gradients is 0\.0: a relative dampening needs some"):
        Dampening(1.0, "relative").of_model(0.0)
