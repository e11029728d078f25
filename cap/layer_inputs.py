"""Inputs of Linear and convolution layers, laid out as what each output's weights are multiplied with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from cap.layers import owners

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
KNOWN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def has_known_inputs(module: nn.Module, name: str) -> bool:
    """Returns whether a parameter is the weight of a layer whose inputs can be laid out.

    Subclasses are left out: what they compute with the weight is their own business.
    """
    return type(module) in KNOWN and name.rpartition(".")[2] == "weight"


def input_layers(model: nn.Module, layers: Mapping[str, Tensor]) -> dict[str, list[nn.Module]]:
    """Returns the modules that hold each weight; more than one if it is shared.

    Raises:
        ValueError: If the inputs of one are not known.
    """
    found = {}
    for name in layers:
        found[name] = owners(model, name)
        for module in found[name]:
            if not has_known_inputs(module, name):
                raise ValueError(
                    f"{name} belongs to a {type(module).__name__}: layer inputs are known of nn.Linear, nn.Conv1d, "
                    "nn.Conv2d and nn.Conv3d, not of other modules or subclasses; leave this layer out, or take a "
                    "pruner that needs no layer inputs"
                )
    return found


def input_rows(module: nn.Module, inputs: Tensor) -> Tensor:
    """Returns what a layer's weights are multiplied with: (groups, positions, columns)."""
    if isinstance(module, nn.Linear):
        return inputs.detach().reshape(1, -1, module.in_features)
    assert isinstance(module, Convolution)
    n, groups = len(inputs), module.groups
    kernel = math.prod(module.kernel_size)
    columns = patches(module, inputs.detach()).reshape(n, groups, module.in_channels // groups, kernel, -1)
    return columns.permute(1, 0, 4, 3, 2).flatten(3).flatten(1, 2)


def patches(module: Convolution, inputs: Tensor) -> Tensor:
    """Returns what each output position sees: (n, in * kernel, positions), in any shape of that order."""
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        height, width = module.kernel_size
        if module.stride == module.kernel_size and module.padding == (0, 0) and module.dilation == (1, 1):
            n, channels = inputs.shape[:2]  # patches side by side: a view, where `unfold` would go through every entry
            rows, columns = inputs.shape[2] // height, inputs.shape[3] // width
            whole = inputs[:, :, : rows * height, : columns * width]
            return whole.reshape(n, channels, rows, height, columns, width).permute(0, 1, 3, 5, 2, 4)
        return F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)
    dimensions = len(module.kernel_size)
    view = _padded(module, inputs)
    for i in range(dimensions):  # each adds a dimension of the kernel at the end
        reach = module.dilation[i] * (module.kernel_size[i] - 1) + 1
        view = view.unfold(2 + i, reach, module.stride[i])[..., :: module.dilation[i]]
    positions, kernel = range(2, 2 + dimensions), range(2 + dimensions, 2 + 2 * dimensions)
    return view.permute(0, 1, *kernel, *positions)


def _padded(module: Convolution, inputs: Tensor) -> Tensor:
    """Returns the inputs of a convolution with its padding: zeros, or what `padding_mode` says."""
    if module.padding == "valid":
        return inputs
    sides: list[int] = []  # of the last dimension first, as F.pad takes them
    for i in reversed(range(len(module.kernel_size))):
        if isinstance(module.padding, str):  # "same": the larger half at the end
            whole = module.dilation[i] * (module.kernel_size[i] - 1)
            sides += [whole // 2, whole - whole // 2]
        else:
            sides += [module.padding[i]] * 2
    return F.pad(inputs, sides, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
