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


STAGED = (("cap", "num_recomputations"), ("mfac", "num_recomputations"), ("chita", "stages"))


@pytest.mark.parametrize(("name", "parts"), STAGED)
def test_fresh_gradients_are_of_the_images_after_those_before(name, parts, model, layers, calibration) -> None:
    """Of seven images a part takes three: 0 1 2, then 3 4 5, then 6 0 1."""
    options = {"block_size": 16, "damp": 1e-3, "num_gradients": 3}
    few = cap.Calibration(calibration.images[:7], calibration.labels[:7])
    pruner = cap.create(name, **options, **{parts: 3}, fresh_gradients=True).fit(model, layers, few)
    ours = pruner.prune(cap.Unstructured(0.75))
    stepped = copy.deepcopy(model)
    schedule = "polynomial" if name == "chita" else "linear"
    turns = ([0, 1, 2], [3, 4, 5], [6, 0, 1])
    for chosen, sparsity in zip(turns, sparsities_on_the_way(0.75, 3, schedule), strict=True):
        weights = {layer: stepped.get_parameter(layer) for layer in layers}
        seen = cap.Calibration(calibration.images[chosen], calibration.labels[chosen])
        cap.create(name, **options).fit(stepped, weights, seen).prune(sparsity).apply_to(stepped)
    assert all(ours.weights[layer].equal(stepped.get_parameter(layer).detach()) for layer in layers)


def test_fresh_batches_are_in_another_order(model, layers, calibration) -> None:
    batches = cap.Calibration(calibration.images, calibration.labels, batch_size=4, gradient="batch", seed=5)
    first, second = (next(iter(one.gradients(model, layers, 1))) for one in (batches, batches.renewed(1, 1)))
    assert any(not first[name].equal(second[name]) for name in layers)
    again = next(iter(batches.renewed(0, 1).gradients(model, layers, 1)))
    assert all(first[name].equal(again[name]) for name in layers), "the first estimate is made with the set itself"


def test_fresh_gradients_is_a_flag() -> None:
    with pytest.raises(ValueError, match="fresh_gradients=1 is not valid: it is true or false"):
        cap.create("cap", fresh_gradients=1)


def test_unknown_schedule() -> None:
    with pytest.raises(ValueError, match="schedule='cosine' is not valid: choose from linear, polynomial, geometric"):
        cap.create("cap", schedule="cosine")
