from __future__ import annotations

import pytest
import torch

import cap


def masks_of(layers: dict) -> dict[str, torch.Tensor]:
    return {name: torch.rand(weight.shape) < 0.5 for name, weight in layers.items()}


def test_masks_hold_through_momentum_and_weight_decay(model, layers) -> None:
    masks = cap.Masks(model, masks_of(layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    masks.attach(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().sum().backward()
        optimizer.step()
        masks.check()
    assert all((layers[name].detach()[~mask] == 0).all() for name, mask in masks.state_dict().items())


def test_check_finds_a_weight_that_moved(model, layers) -> None:
    masks = cap.Masks(model, {"fc1.weight": torch.zeros(16, 8, dtype=torch.bool)})
    with pytest.raises(RuntimeError, match=r"128 masked weights of fc1\.weight are not zero"):
        masks.check()
    masks.apply()
    masks.check()


def test_masks_must_fit(model) -> None:
    with pytest.raises(ValueError, match="fits no weight"):
        cap.Masks(model, {"fc1.weight": torch.ones(2, 2, dtype=torch.bool)})
