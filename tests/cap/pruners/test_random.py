"""The random control."""

from __future__ import annotations

import torch
from torch import nn

import cap


def masks(seed: int) -> torch.Tensor:
    model = nn.Sequential(nn.Linear(100, 80), nn.Linear(80, 100))
    calibration = cap.Calibration(torch.zeros(4, 100), torch.zeros(4, dtype=torch.long))
    calibration.generator.manual_seed(seed)
    pruned = cap.create("random").fit(model, cap.select_layers(model, [".*weight"]), calibration).prune(0.7)
    return torch.stack([pruned.masks["0.weight"], pruned.masks["1.weight"].T])


def test_every_weight_is_as_likely_and_the_seed_decides() -> None:
    kept = torch.stack([masks(seed) for seed in range(8)]).double()  # (seeds, layers, 80, 100)
    assert kept.sum().item() == 8 * 4800
    assert (kept.mean((0, 2, 3)) - 0.3).abs().max() < 0.01  # each layer
    assert (kept.mean((0, 1, 2)) - 0.3).abs().max() < 0.06  # each column: four deviations of 1,280 draws
    assert masks(3).equal(masks(3))
    assert abs(float((kept[0] * kept[1]).mean()) - 0.09) < 0.01  # two seeds have nothing to do with each other
