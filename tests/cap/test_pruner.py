from __future__ import annotations

import pytest
import torch

import cap


def test_prune_before_fit_and_unsupported_pattern(model, layers, calibration) -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        cap.create("magnitude").prune(cap.Unstructured(0.5))
    with pytest.raises(ValueError, match="no layers"):
        cap.create("magnitude").fit(model, {}, calibration)
    pruner = cap.create("cap", block_size=8).fit(model, layers, calibration)
    with pytest.raises(ValueError, match="not blocks of them"):
        pruner.prune(cap.Blocks(4, 0.5))


class LargestFirst(cap.ScorePruner):
    """Removal of the largest weights: what is zero has the highest scores."""

    needs = "nothing"

    def scores(self, model, layers, calibration):
        return {name: -weight.abs() for name, weight in layers.items()}


def test_blocks_that_are_zero_already_go_first_whatever_the_scores(model, calibration) -> None:
    layers = cap.select_layers(model, [r"fc\d.weight"])
    with torch.no_grad():
        layers["fc1.weight"][2, 4:] = 0
        layers["fc2.weight"][3, :8] = 0
    zero = {name: (weight.reshape(-1, 4) == 0).all(1) for name, weight in layers.items()}
    few, half = cap.Blocks(4, 3 / 64), cap.Blocks(4, 0.5)
    for pattern, count in ((few, 3), (half, 32)):
        pruned = LargestFirst().fit(model, layers, calibration).prune(pattern)
        gone = {name: ~mask.reshape(-1, 4).any(1) for name, mask in pruned.masks.items()}
        assert all((gone[name] | ~zero[name]).all() for name in layers)
        assert sum(int(blocks.sum()) for blocks in gone.values()) == count
        assert cap.count_violations(pruned.masks, pattern) == 0
    pruned.apply_to(model)
    again = LargestFirst().fit(model, layers, calibration).prune(half)
    assert all(again.masks[name].equal(mask) for name, mask in pruned.masks.items())
    with pytest.raises(ValueError, match=r"fc1\.weight has 128 weights, no multiple of 3"):
        LargestFirst().fit(model, layers, calibration).prune(cap.Blocks(3, 0.5))


@pytest.mark.parametrize(
    ("name", "options"), [("magnitude", {}), ("woodfisher", {"block_size": 8, "num_recomputations": 2})]
)
def test_a_number_or_a_text_stands_for_a_pattern(name, options, model, calibration) -> None:
    layers = cap.select_layers(model, [r"fc\d.weight"])
    pruner = cap.create(name, **options).fit(model, layers, calibration)
    patterns = {0.5: cap.Unstructured(0.5), 0: cap.Unstructured(0.0), "0.75@layer": cap.Unstructured(0.75, "layer"),
                "0.5@blocks4": cap.Blocks(4, 0.5)}  # fmt: skip
    if not options:
        patterns["2:4"] = cap.NM(2, 4)
    for short, pattern in patterns.items():
        ours, theirs = pruner.prune(short), pruner.prune(pattern)
        assert all(ours.masks[layer].equal(theirs.masks[layer]) for layer in layers)
        assert all(ours.weights[layer].equal(theirs.weights[layer]) for layer in layers)
    for wrong in (1.5, "half", None, True, cap.NM):
        with pytest.raises(ValueError, match=r"is no pattern|out of range"):
            pruner.prune(wrong)
