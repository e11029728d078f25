"""Fits whose memory budget does not hold the factors: they are made again from the gradients to prune."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cap

PATTERNS = [cap.Unstructured(0.5), cap.Unstructured(0.8, scope="layer"), cap.NM(2, 4)]
OPTIONS = {"block_size": 48, "damp": 1e-3}


@pytest.fixture(scope="module")
def wide() -> tuple[nn.Module, dict[str, Tensor], cap.Calibration]:
    """Two layers whose factors take several times what else a fit holds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10))
    calibration = cap.Calibration(torch.randn(64, 128), torch.randint(0, 10, (64,)), batch_size=16)
    return model.eval(), cap.select_layers(model, [r"[02].weight"]), calibration


def fit(name: str, wide, budget: int | None, **options) -> cap.Pruner:
    model, layers, calibration = wide
    calibration.memory_budget = budget
    return cap.create(name, **{**OPTIONS, **options}).fit(model, layers, calibration)


def least_with_factors(name: str, wide, **options) -> int:
    """Returns the bytes that the plan of a fit which keeps its factors takes, at the least."""
    model, layers, calibration = wide
    low, high = 1, 2**32
    while high - low > 1024:
        calibration.memory_budget = (low + high) // 2
        try:
            keeps = cap.create(name, **{**OPTIONS, **options}).plan(model, layers, calibration).keeps_factors
        except ValueError:
            keeps = False
        low, high = (low, calibration.memory_budget) if keeps else (calibration.memory_budget, high)
    return high


@pytest.mark.parametrize("name", ["cap", "woodfisher", "obert"])
@pytest.mark.parametrize("ahead", [True, False], ids=["prepared", "one by one"])
@pytest.mark.parametrize(
    "options",
    [{}, {"damp": 0.1, "damp_scale": "relative"}, {"damp": 0.5, "damp_scale": "noise"}, {"reconstruction": 0.1}],
    ids=["absolute", "relative", "noise", "mixed in"],
)
def test_results_are_those_of_kept_factors(name: str, ahead: bool, options: dict[str, Any], wide) -> None:
    kept = fit(name, wide, None, **options)
    made = fit(name, wide, least_with_factors(name, wide, **options) - 2**18, **options)
    assert made.rebuilds_factors
    assert not kept.rebuilds_factors
    assert made.factors["0.weight"].packed.numel() == 0
    if ahead:
        made.expect(PATTERNS)
    for pattern in PATTERNS:
        ours, theirs = made.prune(pattern), kept.prune(pattern)
        for layer in theirs.masks:
            assert ours.masks[layer].equal(theirs.masks[layer])
            torch.testing.assert_close(ours.weights[layer], theirs.weights[layer], rtol=1e-6, atol=1e-7)
        assert made.predicted_loss(ours) == pytest.approx(kept.predicted_loss(theirs), rel=1e-6)
    mask = {layer: torch.rand_like(weight) > 0.5 for layer, weight in kept.weights.items()}
    for layer, weight in made.update(mask).items():
        torch.testing.assert_close(weight, kept.update(mask)[layer], rtol=1e-6, atol=1e-7)


def test_one_round_over_the_gradients_serves_all_patterns(wide, monkeypatch) -> None:
    pruner = fit("cap", wide, least_with_factors("cap", wide) - 2**18)
    rounds = []
    batches = cap.Calibration.gradient_batches

    def counted(self, model, layers, *args, **kwargs):
        rounds.append(tuple(layers))
        return batches(self, model, layers, *args, **kwargs)

    monkeypatch.setattr(cap.Calibration, "gradient_batches", counted)
    pruner.expect(PATTERNS[:2])
    first = len(rounds)
    for pattern in PATTERNS[:2]:
        pruner.predicted_loss(pruner.prune(pattern))
    assert len(rounds) == first > 0
    pruner.prune(cap.Unstructured(0.9))
    assert len(rounds) > first


def test_later_changes_of_the_model_change_nothing(wide) -> None:
    model, layers, _ = wide
    pruner = fit("cap", wide, least_with_factors("cap", wide) - 2**18)
    before = pruner.prune(cap.Unstructured(0.5))
    dense = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    try:
        before.apply_to(model)
        pruner.prune(cap.Unstructured(0.7))
        again = pruner.prune(cap.Unstructured(0.5))
        assert all(again.weights[name].equal(before.weights[name]) for name in layers)
    finally:
        model.load_state_dict(dense)


def test_recomputations_without_factors(wide) -> None:
    kept, made = (
        fit("cap", wide, budget, num_recomputations=2) for budget in (None, least_with_factors("cap", wide) - 2**18)
    )
    target = cap.Unstructured(0.8)
    made.expect([target])
    ours, theirs = made.prune(target), kept.prune(target)
    assert all(ours.masks[layer].equal(theirs.masks[layer]) for layer in theirs.masks)


def test_what_needs_whole_layers_says_so(wide) -> None:
    wood = fit("woodfisher", wide, least_with_factors("woodfisher", wide) - 2**18)
    assert "raise it" in (wood.supports(cap.parse_pattern("0.5@blocks4")) or "")
    with pytest.raises(NotImplementedError, match="fit it again"):
        wood.state_dict()


def test_chita_needs_its_factors(wide) -> None:
    with pytest.raises(ValueError, match="memory budget"):
        fit("chita", wide, least_with_factors("cap", wide) - 2**18)


def test_the_plan_says_that_pruning_goes_over_the_gradients_again(wide) -> None:
    model, layers, calibration = wide
    calibration.memory_budget = least_with_factors("cap", wide) - 2**18
    plan = cap.create("cap", **OPTIONS).plan(model, layers, calibration)
    assert plan.peak_bytes <= plan.budget
    assert "no factors are kept" in str(plan)
