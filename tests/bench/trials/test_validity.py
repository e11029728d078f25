from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import cap
from bench.specs.trial import Trial
from bench.trials.runner import run_trial
from bench.trials.validity import find_invalid

HALF = cap.Unstructured(0.5)


def pruned(*zeros: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two layers of 2 x 4 ones with the given places zero, counted over both, and their masks."""
    flat = torch.ones(16)
    flat[list(zeros)] = 0
    weights = {"a": flat[:8].view(2, 4).clone(), "b": flat[8:].view(2, 4).clone()}
    return weights, {name: weight != 0 for name, weight in weights.items()}


def test_weights_at_their_pattern_are_valid() -> None:
    weights, masks = pruned(*range(8))
    assert find_invalid(weights, masks, HALF) is None
    assert find_invalid(weights, None, HALF) is None
    weights["b"][0, 0] = 0.0  # a kept weight that training brought to zero
    assert find_invalid(weights, masks, HALF) is None


@pytest.mark.parametrize(
    ("zeros", "pattern", "told"),
    [
        ((), "0.5", "keeps 100 % of the weights where 50 % were wanted: 0 zeros, wants 8"),
        (range(7), "0.5", "keeps 56.25 % .* 7 zeros, wants 8"),
        (range(9), "0.5", "the masks remove 9 weights, wants 8"),
        (range(8), "0.5@layer", "4 weights break the pattern 0.5@layer"),
        (range(8), "2:4", "4 weights break the pattern 2:4"),
        ((0, 1, 4, 5, 8, 9, 12, 14), "0.5@blocks2", "1 weights break the pattern 0.5@blocks2"),
    ],
)
def test_weights_off_their_pattern(zeros: tuple[int, ...], pattern: str, told: str) -> None:
    found = find_invalid(*pruned(*zeros), cap.parse_pattern(pattern))
    assert found is not None
    assert re.search(told, found), found


def test_masks_and_weights_must_agree() -> None:
    weights, masks = pruned(*range(8))
    dense = {name: torch.ones(2, 4) for name in weights}
    other = {"a": masks["b"], "b": masks["a"]}
    assert find_invalid(weights, other, HALF) == "8 weights are not zero where the mask removes them"
    assert find_invalid(weights, {"a": masks["a"]}, HALF) == "1 of 2 layers have no mask: b"
    assert "the mask of b is (8,)" in str(find_invalid(weights, {**masks, "b": masks["b"].flatten()}, HALF))
    everything = {name: weight * 0 for name, weight in weights.items()}
    assert find_invalid(everything, masks, HALF, dense) == (
        "keeps 0 % of the weights where 50 % were wanted: 16 zeros, wants 8"
    )
    assert find_invalid(everything, masks, HALF, everything) is None, "they were zero before"
    weights["b"][0, 0] = torch.nan
    assert find_invalid(weights, masks, HALF) == "1 weights of b are not finite"


FORGETFUL = """
import cap

class Forgetful(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items()}

    def weights_at(self, pattern):
        masks = self.select(pattern)
        masks["blocks.0.attn.qkv.weight"][:] = True
        return cap.PrunedWeights(self.update(masks), masks)
"""


def test_a_forgotten_layer_makes_an_invalid_row(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FORGETFUL)
    trial = Trial(sweep="s", profile="embedded", model="vit", pruner=f"{tmp_path}/mine.py:Forgetful",
                  patterns=("0.5",), calibration={"images": 16}, evaluation_images=100)  # fmt: skip
    dense, row = run_trial(trial).rows
    assert (dense.status, row.status) == ("done", "invalid")
    assert row.top1 is not None, "the measurements stay"
    assert row.violations
    assert row.error is not None
    assert re.fullmatch(r"keeps 5\d.* % of the weights where 50 % were wanted: .* zeros, wants 98,304", row.error)
