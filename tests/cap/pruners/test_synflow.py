"""SynFlow against products of matrices, and its conservation law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cap


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in ((7, 9), (9, 8), (8, 5))))


def flow_scores(first: Tensor, second: Tensor, third: Tensor) -> list[Tensor]:
    """Share of each weight in `R = 1^T |W3| |W2| |W1| 1`: what flows into it times what flows out of it."""
    a, b, c = first.abs(), second.abs(), third.abs()
    return [
        (b.T @ c.sum(0))[:, None] * a,
        c.sum(0)[:, None] * b * a.sum(1),
        c * (b @ a.sum(1)),
    ]


def test_scores_are_the_flow_through_each_weight_and_are_conserved(network: nn.Sequential) -> None:
    calibration = cap.Calibration(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))
    layers = cap.select_layers(network, [".*weight"])
    scores = cap.create("synflow").fit(network, layers, calibration).importance
    weights = [weight.detach().double() for weight in layers.values()]
    for ours, theirs in zip(scores.values(), flow_scores(*weights), strict=True):
        torch.testing.assert_close(ours, theirs)
    sums = [float(score.sum()) for score in scores.values()]
    assert sums == pytest.approx([sums[0]] * 3)


def test_the_exponential_schedule(network: nn.Sequential) -> None:
    """Three steps to 90 %, each with the scores of what is left."""
    calibration = cap.Calibration(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))
    layers = cap.select_layers(network, [".*weight"])
    ours = cap.create("synflow", iterations=3).fit(network, layers, calibration).prune(0.9)
    weights = [weight.detach().double() for weight in layers.values()]
    total = sum(weight.numel() for weight in weights)
    for step in (1, 2, 3):
        gone = round((1 - 0.1 ** (step / 3)) * total)
        threshold = torch.cat([score.flatten() for score in flow_scores(*weights)]).sort().values[gone - 1]
        weights = [w * (s > threshold) for w, s in zip(weights, flow_scores(*weights), strict=True)]
    for mask, weight in zip(ours.masks.values(), weights, strict=True):
        assert mask.equal(weight != 0)
    assert all(mask.any() for mask in ours.masks.values())  # no layer collapses


def test_no_layer_collapses_where_one_step_makes_it(network: nn.Sequential) -> None:
    calibration = cap.Calibration(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))
    with torch.no_grad():
        network[1].weight *= 1e-3
    layers = cap.select_layers(network, [".*weight"])
    many, magnitude = (cap.create(n).fit(network, layers, calibration).prune(0.8) for n in ("synflow", "magnitude"))
    assert many.masks["1.weight"].any()
    assert not magnitude.masks["1.weight"].any()


def test_groups_are_refused() -> None:
    assert "ask for 0.5" in str(cap.create("synflow").supports(cap.NM(2, 4)))
