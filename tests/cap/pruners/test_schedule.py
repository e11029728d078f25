"""Schedules of sparsities, by hand, and the same steps taken one by one."""

from __future__ import annotations

import copy

import pytest

import cap
from cap.pruners._schedule import sparsities_on_the_way


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.225, 0.45, 0.675, 0.9]),
        ("polynomial", [0.9 * 37 / 64, 0.9 * 7 / 8, 0.9 * 63 / 64, 0.9]),
        ("geometric", [1 - 0.1**0.25, 1 - 0.1**0.5, 1 - 0.1**0.75, 0.9]),
    ],
)
def test_by_hand(schedule, expected) -> None:
    assert sparsities_on_the_way(0.9, 4, schedule) == pytest.approx(expected)
    assert sparsities_on_the_way(0.1, 3, schedule)[-1] == 0.1
    assert sparsities_on_the_way(0.3, 1, schedule) == [0.3]


@pytest.mark.parametrize("name", ["cap", "woodfisher", "obert", "mfac"])
def test_parts_are_steps_by_hand(name, model, layers, calibration) -> None:
    options = {"block_size": 16, "damp": 1e-3}
    pruner = cap.create(name, **options, num_recomputations=2, schedule="geometric").fit(model, layers, calibration)
    ours = pruner.prune(cap.Unstructured(0.75))
    stepped = copy.deepcopy(model)
    for sparsity in (0.5, 0.75):
        weights = {layer: stepped.get_parameter(layer) for layer in layers}
        cap.create(name, **options).fit(stepped, weights, calibration).prune(sparsity).apply_to(stepped)
    assert all(ours.weights[layer].equal(stepped.get_parameter(layer).detach()) for layer in layers)


def test_unknown_schedule() -> None:
    with pytest.raises(ValueError, match="schedule='cosine' is not valid: choose from linear, polynomial, geometric"):
        cap.create("cap", schedule="cosine")
