"""INT8 weights and inputs of layers, and models that compute as INT8 kernels do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cap.layers import owner


@dataclass(frozen=True)
class Int8Layer:
    """A linear or convolution layer's weight and input in eight bits.

    Weights are symmetric, with one scale an output channel and zero point 0, so that a removed weight is exactly 0.
    Inputs are unsigned, with one scale and zero point that do not depend on the input.

    Attributes:
        values: Quantized weight, int8, output channels first.
        scale: Scale of each output channel, (output channels,), float32.
        input_scale: Width of a step of the input.
        input_zero_point: Value of 0 to 255 that stands for an input of 0.
    """

    values: Tensor
    scale: Tensor
    input_scale: float
    input_zero_point: int

    def weight(self) -> Tensor:
        """Returns the weight in float32: values times scale."""
        return self.values * self.scale.view(-1, *[1] * (self.values.ndim - 1))

    def rounded(self, inputs: Tensor) -> Tensor:
        """Returns inputs rounded to the nearest of their 256 steps, those out of range to the first or last."""
        return torch.fake_quantize_per_tensor_affine(inputs, self.input_scale, self.input_zero_point, 0, 255)


@torch.no_grad()
def apply_int8(model: nn.Module, layers: Mapping[str, Int8Layer]) -> None:
    """Lets a model, in place, compute with INT8 weights and inputs.

    Products are added up in float32, where INT8 kernels add whole numbers: but for rounding, sums are the same.

    Args:
        model: Model with the weights, to which this was not done before.
        layers: INT8 layers, {parameter name: layer}.

    Raises:
        ValueError: If one fits no weight of the model.
    """
    weights = dict(model.named_parameters())
    for name, layer in layers.items():
        if name not in weights or weights[name].shape != layer.values.shape:
            raise ValueError(f"INT8 layer {name} of shape {tuple(layer.values.shape)} fits no weight of the model")
        weights[name].copy_(layer.weight())
        owner(model, name).register_forward_pre_hook(_rounding(layer))


def _rounding(layer: Int8Layer) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda _, inputs: (layer.rounded(inputs[0]), *inputs[1:])
