"""What holds for every registered pruner beyond the contract: double precision, zeros, layers that nothing calls."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import cap
from cap.testing import tiny_calibration, tiny_layers, tiny_model
from cap.testing.inspection import changed_names
from cap.testing.subject import Subject
from cap.testing.tiny import PATTERN_LAYERS

PATTERNS = (
    *(cap.Unstructured(sparsity, scope) for scope in ("global", "layer") for sparsity in (0.75, 0.25, 0.0)),
    cap.NM(1, 4),
    cap.NM(2, 4),
    cap.Blocks(4, 0.5),
)

every_pruner = pytest.mark.parametrize("name", cap.available())


def fit(name: str, model: nn.Module, calibration: cap.Calibration | None = None) -> cap.Pruner:
    pruner = Subject(name, {}).create()
    return pruner.fit(model, tiny_layers(model, PATTERN_LAYERS), calibration or tiny_calibration())


def supported(pruner: cap.Pruner) -> list[cap.Pattern]:
    found = [pattern for pattern in PATTERNS if pruner.supports(pattern) is None]
    assert found
    return found


@every_pruner
def test_one_fit_in_double_precision_serves_any_order(name: str) -> None:
    model, single = tiny_model().double(), tiny_calibration()
    calibration = cap.Calibration(single.images.double(), single.labels, batch_size=20)
    pruner = fit(name, model, calibration)
    dense = copy.deepcopy(pruner.weights)
    patterns = supported(pruner)
    for pattern in (*patterns, *reversed(patterns)):
        ours, fresh = pruner.prune(pattern), fit(name, model, calibration).prune(pattern)
        assert not changed_names(fresh.masks, ours.masks), pattern
        assert not changed_names(fresh.weights, ours.weights), pattern
        assert not changed_names(dense, pruner.weights), pattern


@every_pruner
def test_weights_that_are_zero_already_stay_zero(name: str) -> None:
    """Even where there are more of them than a group, a layer or the whole model is to lose."""
    model = tiny_model()
    torch.manual_seed(0)
    zeros = {}
    with torch.no_grad():
        for layer, weight in tiny_layers(model, PATTERN_LAYERS).items():
            zeros[layer] = torch.rand(weight.shape) < 0.6
            weight[zeros[layer]] = 0
    pruner = fit(name, model)
    for pattern in supported(pruner):
        pruned = pruner.prune(pattern)
        for layer, gone in zeros.items():
            assert not pruned.weights[layer][gone].any(), (pattern, layer)
        assert cap.count_violations(pruned.weights, pattern) == 0


@every_pruner
def test_pruning_again_at_the_same_pattern_gives_the_same_mask(name: str) -> None:
    for pattern in supported(fit(name, tiny_model())):
        model = tiny_model()
        once = fit(name, model).prune(pattern)
        once.apply_to(model)
        again = fit(name, model).prune(pattern)
        assert not changed_names(once.masks, again.masks), pattern


@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize("layers", [["aside.weight"], ["fc1.weight", "aside.weight"]], ids=len)
@every_pruner
def test_a_layer_that_nothing_calls_is_refused_where_its_data_are_needed(name: str, layers, gradient) -> None:
    model = tiny_model()
    model.aside = nn.Linear(8, 8)
    pruner, chosen = Subject(name, {}).create(), cap.select_layers(model, layers)
    if pruner.needs == "nothing":
        pruned = pruner.fit(model, chosen, tiny_calibration(gradient)).prune(cap.Unstructured(0.5, scope="layer"))
        assert int((~pruned.masks["aside.weight"]).sum()) == 32
        return
    said = r"^aside\.weight is not called by the forward pass on the calibration images.*leave it out of the layers"
    with pytest.raises(ValueError, match=said):
        pruner.fit(model, chosen, tiny_calibration(gradient))
