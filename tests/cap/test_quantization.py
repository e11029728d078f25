from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cap.quantization import Int8Layer, apply_int8


def layer(weight: torch.Tensor) -> Int8Layer:
    scale = weight.flatten(1).abs().amax(1) / 127
    values = (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8)
    return Int8Layer(values, scale, 0.05, 100)


def by_hand(value: float) -> float:
    """Rounds a value to its step: the definition, in plain Python."""
    return 0.05 * (min(max(round(value / 0.05) + 100, 0), 255) - 100)


@pytest.mark.parametrize("module", [nn.Linear(5, 3), nn.Conv2d(2, 3, 2)])
def test_weights_and_inputs_are_rounded(module: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(module)
    weight = module.weight.detach()
    weight.view(-1)[::3] = 0
    int8 = layer(weight)
    inputs = 3 * torch.randn(7, 5) if isinstance(module, nn.Linear) else 3 * torch.randn(2, 2, 4, 4)
    inputs.view(-1)[:2] = torch.tensor([1000.0, -1000.0])
    expected = copy.deepcopy(module)
    expected.weight.data = torch.stack([row * scale for row, scale in zip(int8.values, int8.scale, strict=True)])
    rounded = torch.tensor([by_hand(value) for value in inputs.flatten().tolist()]).view_as(inputs)
    apply_int8(model, {"0.weight": int8})
    torch.testing.assert_close(model(inputs), expected(rounded), rtol=1e-5, atol=1e-5)
    assert (model[0].weight[weight == 0] == 0).all()


def test_a_layer_that_fits_no_weight_is_refused() -> None:
    model = nn.Sequential(nn.Linear(5, 3))
    for name, shape in (("1.weight", (3, 5)), ("0.weight", (5, 3))):
        with pytest.raises(ValueError, match=f"INT8 layer {name} of shape .* fits no weight"):
            apply_int8(model, {name: layer(torch.ones(shape))})
