"""The layer-wise objective mixed into the Fisher: against dense matrices, entry by entry."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import cap
from cap.fisher import blocks, planning
from cap.fisher.blocks import split_blocks

PRUNERS = ["cap", "woodfisher", "obert", "chita"]
SIZE, DAMP = 12, 1e-3


def inputs_of(model: nn.Module, name: str, images: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    """For every output of a layer, its group and what its weights are multiplied with, (positions, weights)."""
    module, seen = model.get_submodule(name.removesuffix(".weight")), []
    handle = module.register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    with torch.no_grad():
        model(images)
    handle.remove()
    [x] = seen
    if isinstance(module, nn.Linear):
        return [(0, x.reshape(-1, x.shape[-1]).double())] * module.out_features
    found = []
    per_group = module.out_channels // module.groups
    for output in range(module.out_channels):
        group, width = output // per_group, module.in_channels // module.groups
        own = x[:, group * width : (group + 1) * width]
        rows = nn.functional.unfold(own, module.kernel_size, module.dilation, module.padding, module.stride)
        found.append((group, rows.transpose(1, 2).flatten(0, 1).double()))
    return found


def dense_matrices(model, name, weight, calibration, mu: float, scale: str) -> list[torch.Tensor]:
    """Fisher blocks with the layer-wise part, from the whole matrices of a layer."""
    rows = torch.cat([batch[name] for batch in calibration.gradients(model, {name: weight})]).double()
    zero = weight.detach().flatten() == 0
    rows[:, zero] = 0
    whole = torch.block_diag(*[x.T @ x for _, x in inputs_of(model, name, calibration.images)])
    whole[zero] = 0
    whole[:, zero] = 0
    found = []
    for start in range(0, weight.numel(), SIZE):
        at = slice(start, min(start + SIZE, weight.numel()))
        fisher, moment = rows[:, at].T @ rows[:, at] / len(rows), whole[at, at]
        mixed = fisher + (mu * fisher.trace() / moment.trace() * moment if moment.trace() > 0 else 0)
        ridge = DAMP if scale == "absolute" else DAMP * fisher.trace() / len(rows) ** 0.5
        found.append(mixed + ridge * torch.eye(len(fisher), dtype=torch.float64))
    return found


@pytest.mark.parametrize("scale", ["absolute", "noise"])
@pytest.mark.parametrize("mu", [0.3, 20.0])
@pytest.mark.parametrize("name", ["fc1.weight", "mix.weight", "grouped.weight"])
def test_saliencies_are_those_of_the_dense_matrices(name, mu, scale, calibration) -> None:
    torch.manual_seed(1)
    model = nn.Sequential()
    model.add_module("mix", nn.Conv2d(1, 4, 3, padding=1))
    model.add_module("grouped", nn.Conv2d(4, 6, (2, 3), groups=2))
    model.add_module("flat", nn.Flatten())
    model.add_module("fc1", nn.Linear(6 * 3 * 2, 3))
    calibration = cap.Calibration(torch.randn(24, 1, 4, 4), torch.randint(0, 3, (24,)))
    weight = model.get_parameter(name)
    with torch.no_grad():
        weight.view(-1)[5:9] = 0
    pruner = cap.create("woodfisher", block_size=SIZE, damp=DAMP, damp_scale=scale, reconstruction=mu)
    pruner.fit(model, {name: weight}, calibration)
    matrices = dense_matrices(model, name, weight, calibration, mu, scale)
    diagonals = torch.cat([torch.linalg.inv(matrix).diagonal() for matrix in matrices])
    expected = weight.detach().flatten().double() ** 2 / (2 * diagonals)
    torch.testing.assert_close(pruner.importance[name].flatten(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_on_the_fisher_predicts_with_the_mixed_form(name, model, layers, calibration) -> None:
    chosen = {"fc1.weight": layers["fc1.weight"]}
    pruner = cap.create(name, block_size=SIZE, damp=DAMP, reconstruction=2.0).fit(model, chosen, calibration)
    pruned = pruner.prune(0.6)
    change = (pruned.weights["fc1.weight"] - chosen["fc1.weight"].detach()).flatten().double()
    matrices = dense_matrices(model, "fc1.weight", chosen["fc1.weight"], calibration, 2.0, "absolute")
    expected = sum(float(part @ matrix @ part) / 2 for part, matrix in zip(change.split(SIZE), matrices, strict=True))
    assert pruner.predicted_loss(pruned) == pytest.approx(expected, rel=1e-4)


def test_cap_at_a_large_mu_minimises_the_error_of_the_outputs() -> None:
    """One output alone: with nothing but the layer-wise part, what stays is least squares on the kept inputs."""
    torch.manual_seed(0)
    model = nn.Linear(6, 1, bias=False)
    images = torch.randn(80, 6) @ torch.randn(6, 6)
    calibration = cap.Calibration(images, torch.randn(80, 1), nn.functional.mse_loss)
    pruner = cap.create("cap", block_size=6, damp=1e-12, reconstruction=1e9)
    pruned = pruner.fit(model, {"weight": model.weight}, calibration).prune(0.5)
    kept = pruned.masks["weight"][0]
    outputs = (images @ model.weight.detach()[0]).double()
    best = torch.linalg.lstsq(images[:, kept].double(), outputs).solution
    torch.testing.assert_close(pruned.weights["weight"][0, kept].double(), best, rtol=1e-3, atol=1e-4)


def test_nothing_mixed_in_is_the_fisher_alone(model, layers, calibration) -> None:
    plain, none, some = (
        cap.create("cap", block_size=SIZE, damp=DAMP, **options).fit(model, layers, calibration).prune(0.7)
        for options in ({}, {"reconstruction": 0.0}, {"reconstruction": 1.0})
    )
    assert all(plain.weights[name].equal(none.weights[name]) for name in layers)
    assert not all(plain.masks[name].equal(some.masks[name]) for name in layers)


def test_result_does_not_depend_on_the_budget(model, layers, calibration, monkeypatch) -> None:
    monkeypatch.setattr(planning, "PART_BYTES", 2**14)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 2**12)
    found = []
    for budget in (2**32, 250_000):
        calibration.memory_budget = budget
        pruner = cap.create("cap", block_size=8, damp=DAMP, reconstruction=1.0)
        found.append((len(pruner.plan(model, layers, calibration).passes), pruner.fit(model, layers, calibration)))
    (one, large), (several, small) = found
    assert one == 1 < several
    assert all(large.prune(0.8).weights[name].equal(small.prune(0.8).weights[name]) for name in layers)


def test_the_plan_counts_the_moments(model, layers, calibration) -> None:
    calibration.memory_budget = 2**32
    without, mixed = (
        cap.create("cap", block_size=8, reconstruction=mu).plan(model, layers, calibration).peak_bytes for mu in (0, 1)
    )
    columns = sum(8 * weight[0].numel() ** 2 for weight in layers.values())
    assert mixed - without >= columns


def test_recomputations_measure_the_inputs_anew(model, layers, calibration) -> None:
    options = {"block_size": 8, "damp": DAMP, "reconstruction": 1.0}
    ours = cap.create("cap", **options, num_recomputations=2).fit(model, layers, calibration).prune(0.8)
    half = cap.create("cap", **options).fit(model, layers, calibration).prune(0.4)
    model = copy.deepcopy(model)
    half.apply_to(model)
    again = {name: model.get_parameter(name) for name in layers}
    expected = cap.create("cap", **options).fit(model, again, calibration).prune(0.8)
    assert all(split_blocks(ours.weights[name], 8).equal(split_blocks(expected.weights[name], 8)) for name in layers)


@pytest.mark.parametrize("name", PRUNERS)
def test_mistakes(name) -> None:
    with pytest.raises(ValueError, match="reconstruction=-1 is not valid: it is a number of at least 0"):
        cap.create(name, reconstruction=-1)
