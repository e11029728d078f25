"""Composition: each part does what it would do alone."""

from __future__ import annotations

import itertools

import pytest
import torch

import cap
from cap.testing import tiny_calibration

OPTIONS = {"block_size": 16, "damp": 1e-3}


def fit(model, layers, calibration, **options) -> cap.Pruner:
    return cap.create("compose", **options).fit(model, layers, calibration)


def alone(name: str, model, layers, calibration) -> cap.ScorePruner:
    options = {key: value for key, value in OPTIONS.items() if key in cap.default_options(name)}
    return cap.create(name, **options).fit(model, layers, calibration)


@pytest.mark.parametrize("weights", ["none", "woodfisher", "obert"])
@pytest.mark.parametrize("mask", ["magnitude", "woodfisher", "cap"])
def test_mask_of_one_and_weights_of_another(mask, weights, model, layers, calibration) -> None:
    own = {"mask_options": None if mask == "magnitude" else OPTIONS}
    own["weights_options"] = None if weights == "none" else OPTIONS
    pruned = fit(model, layers, calibration, mask=mask, weights=weights, **own).prune(0.7)
    masks = alone(mask, model, layers, calibration).prune(0.7).masks
    assert all(pruned.masks[name].equal(masks[name]) for name in layers)
    if weights == "none":
        expected = {name: weight.detach() * masks[name] for name, weight in layers.items()}
    else:
        expected = alone(weights, model, layers, calibration).update(masks)
    assert all(pruned.weights[name].equal(expected[name]) for name in layers)


@pytest.mark.parametrize("mask", ["magnitude", "cap", "chita", "obc", "sparsegpt"])
def test_allocation_of_one_and_mask_of_another(mask, model, layers, calibration) -> None:
    given = {"allocation": "cap", "allocation_options": OPTIONS, "weights": None, "block_size": 16}
    pruned = fit(model, layers, calibration, mask=mask, **given).prune(0.7)
    counts = {
        name: int((~keep).sum()) for name, keep in alone("cap", model, layers, calibration).prune(0.7).masks.items()
    }
    assert {name: int((~keep).sum()) for name, keep in pruned.masks.items()} == counts
    if mask == "magnitude":
        for name, weight in layers.items():
            gone, kept = (weight.detach().abs()[m] for m in (~pruned.masks[name], pruned.masks[name]))
            assert gone.max() <= kept.min()


def test_a_pruner_made_of_its_own_parts_is_the_pruner(model, layers, calibration) -> None:
    parts = dict.fromkeys(("allocation", "mask", "weights"), "cap")
    options = {f"{role}_options": OPTIONS for role in parts}
    composed = fit(model, layers, calibration, **parts, **options)
    assert len(composed.parts) == 1
    for pattern in (0.5, 0.9):
        ours, theirs = composed.prune(pattern), alone("cap", model, layers, calibration).prune(pattern)
        assert all(ours.weights[name].equal(theirs.weights[name]) for name in layers)
        assert composed.predicted_loss(ours) == pytest.approx(
            alone("cap", model, layers, calibration).predicted_loss(theirs)
        )


class Counting(cap.Calibration):
    passes = 0

    def gradient_batches(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.passes += 1
        return super().gradient_batches(*args, **kwargs)


@pytest.mark.parametrize("share", [False, True])
def test_gradients_are_computed_once_for_parts_of_one_block_size(share, model, layers, calibration) -> None:
    counted = Counting(calibration.images, calibration.labels, batch_size=20, share=share)
    fit(model, layers, counted, mask="woodfisher", weights="cap", allocation="obert", block_size=16)
    assert counted.passes == 1
    assert counted.share is share
    assert (counted.shared_bytes > 0) is share
    assert counted.memory_budget is None


def test_each_part_has_its_share_of_the_memory_budget(model, layers, calibration) -> None:
    calibration.memory_budget = 2**30
    fitted = cap.create("compose", mask="woodfisher", weights="cap", block_size=16)
    plan = fitted.plan(model, layers, calibration)
    assert plan is not None
    assert plan.budget == 2**29
    calibration.memory_budget = 1000
    with pytest.raises(ValueError, match=r"memory budget of 0\.00 GiB is too small"):
        fitted.fit(model, layers, calibration)
    assert calibration.memory_budget == 1000


def test_masks_are_nested_if_those_of_the_parts_are(model, layers, calibration) -> None:
    composed = fit(model, layers, calibration, mask="magnitude", allocation="cap", weights="none", block_size=16)
    assert composed.monotone
    masks = [composed.prune(sparsity).masks for sparsity in (0.3, 0.6, 0.9)]
    for low, high in itertools.pairwise(masks):
        assert all((low[name] | ~high[name]).all() for name in layers)
    assert not cap.create("compose", mask="chita").monotone


def test_patterns_are_those_of_the_mask(model, calibration) -> None:
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    composed = fit(model, layers, calibration, mask="magnitude", weights="cap", weights_options=OPTIONS)
    assert cap.count_violations(composed.prune("2:4").weights, cap.NM(2, 4)) == 0
    assert "no scores that compare layers" in (cap.create("compose", mask="obc").supports(cap.Unstructured(0.5)) or "")
    with pytest.raises(ValueError, match="an allocation is one of a sparsity over all layers, not of 2:4"):
        fit(model, layers, calibration, allocation="cap", block_size=16).prune("2:4")
    refused = cap.create("compose", mask="cap", allocation="magnitude", mask_options={"num_recomputations": 2})
    assert "set num_recomputations to 1" in (refused.supports(cap.Unstructured(0.5)) or "")


def test_shared_options_are_those_of_parts_without_their_own(model, layers) -> None:
    composed = cap.create(
        "compose", mask="woodfisher", weights="cap", block_size=16, num_gradients=8, weights_options={"block_size": 24}
    )
    assert [(part.block_size, part.num_gradients) for part in composed.parts] == [(16, 8), (24, 8)]
    with pytest.raises(ValueError, match="49 per-sample gradients"):
        fit(model, layers, tiny_calibration(), num_gradients=49)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": "capp"}, "mask='capp' is not valid: choose from alps, cap, chita"),
        ({"weights": "compose"}, "weights='compose' is not valid: choose from"),
        ({"mask": "none"}, "mask='none' is not valid"),
        ({"mask": None}, "mask=None is not valid: it is a pruner's name"),
        ({"weights": "magnitude"}, "magnitude updates no weights for a mask that is not its own"),
        ({"weights": "sparsegpt"}, "sparsegpt updates no weights"),
        ({"weights": "cap", "weights_options": {"num_recomputations": 2}}, "num_recomputations and stages are 1"),
        ({"allocation_options": {"damp": 1}}, "allocation_options are given, but allocation is no pruner's name"),
        ({"mask_options": "damp"}, "mask_options='damp' is not valid: give options by name"),
        ({"mask": "cap", "mask_options": {"dampp": 1}}, "pruner 'cap' has no option dampp"),
        ({"block_size": 0}, "block_size=0 is not valid"),
    ],
)
def test_mistakes_are_told_before_any_work(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        cap.create("compose", **options)


def test_counts_must_be_those_of_the_layers(model, layers, calibration) -> None:
    pruner = cap.create("magnitude").fit(model, layers, calibration)
    counts = cap.Allocated(0.1, (("fc1.weight", 3),))
    with pytest.raises(ValueError, match=r"has counts for fc1\.weight, not for mix\.weight"):
        pruner.prune(counts)
    some = {"fc1.weight": layers["fc1.weight"]}
    pruned = cap.create("magnitude").fit(model, some, calibration).prune(counts)
    assert int((~pruned.masks["fc1.weight"]).sum()) == 3
    assert cap.count_violations(pruned.weights, counts) == 0
    assert torch.equal(
        pruned.masks["fc1.weight"], layers["fc1.weight"].abs() > layers["fc1.weight"].abs().flatten().sort().values[2]
    )
