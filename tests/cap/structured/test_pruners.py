"""The pruners of units on the tiny model, against other code."""

import copy

import pytest
import torch
import torch.nn.functional as F

import cap
from cap.structured import find_units
from cap.structured.selection import unit_masks
from cap.testing.tiny import tiny_calibration, tiny_layers, tiny_model

torch_pruning = pytest.importorskip("torch_pruning")


def fitted(name, **options):
    model = tiny_model()
    layers = tiny_layers(model)
    pruner = cap.create(name, **options)
    pruner.units = find_units(model, layers, torch.zeros(1, 1, 8, 8))
    pruner.fit(model, layers, tiny_calibration())
    return pruner, model


def test_the_hidden_units_of_the_tiny_model_are_its_units():
    pruner, _ = fitted("magnitude")
    assert [(group.name, group.kind, len(group)) for group in pruner.units] == [("fc1", "channel", 16)]


def test_magnitude_orders_as_torch_pruning_does():
    pruner, model = fitted("magnitude")
    graph = torch_pruning.DependencyGraph().build_dependency(model, torch.randn(1, 1, 8, 8))
    members = graph.get_pruning_group(model.fc1, torch_pruning.prune_linear_out_channels, list(range(16)))
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2, group_reduction="sum", normalizer=None)
    theirs = importance(members)
    ours = torch.empty(16, dtype=torch.float64)
    ours[pruner.rankings["fc1"].order] = pruner.rankings["fc1"].scores
    torch.testing.assert_close(ours.float() * 16, theirs.detach(), rtol=1e-4, atol=1e-6)


def test_taylor_is_the_mean_square_of_the_first_order_change():
    pruner, model = fitted("taylor")
    calibration = tiny_calibration()
    scores = torch.zeros(16, dtype=torch.float64)
    for image, label in zip(calibration.images, calibration.labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        change = (model.fc1.weight.grad * model.fc1.weight).sum(1) + (model.fc2.weight.grad * model.fc2.weight).sum(0)
        scores += change.detach().double().square() / len(calibration)
    found = torch.empty(16, dtype=torch.float64)
    found[pruner.rankings["fc1"].order] = pruner.rankings["fc1"].scores * 16
    torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-9)


def test_cap_removes_units_with_the_joint_update():
    pruner, _ = fitted("cap", block_size=8, num_gradients=40, damp=1e-4)
    pruned = pruner.prune("0.5@units")
    gone = pruner.rankings["fc1"].order[:8]
    masks = unit_masks(pruner.units, pruner.weights, {"fc1": gone})
    assert all(mask.equal(masks[name]) for name, mask in pruned.masks.items())
    for name, weight in pruned.weights.items():
        torch.testing.assert_close(weight, pruner.joint_update(name, masks[name]))
    assert pruner.predicted_loss(pruned) > 0


@pytest.mark.parametrize("name", ["cap", "magnitude", "taylor"])
def test_units_are_removed_in_one_order_at_all_sparsities(name):
    pruner, model = fitted(name, **({"block_size": 8} if name == "cap" else {}))
    before = copy.deepcopy(model.state_dict())
    few, many = pruner.prune("0.25@units").masks, pruner.prune("0.75@units").masks
    assert not any((many[layer] & ~mask).any() for layer, mask in few.items())
    assert pruner.prune("0.0@units").sparsity == 0
    assert all(value.equal(model.state_dict()[key]) for key, value in before.items())


def test_units_cannot_be_reached_in_parts():
    assert "num_recomputations" in cap.create("cap", num_recomputations=2).refusal(cap.Units(0.5))
