"""The smaller model that is left when units are gone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cap.structured.finding import dependency_graph
from cap.structured.selection import Removed
from cap.structured.units import UnitGroup


def removed_units(groups: Sequence[UnitGroup], weights: Mapping[str, Tensor]) -> Removed:
    """Returns the units whose weights are all zero, {name of the group: units}; the last of a group is left to it."""
    present = {name: weight != 0 for name, weight in weights.items()}
    removed = {}
    for group in groups:
        zero = (group.sums(present) == 0).nonzero().flatten()
        removed[group.name] = zero if len(zero) < len(group) else zero[1:]
    return removed


def cut(model: nn.Module, groups: Sequence[UnitGroup], removed: Mapping[str, Tensor], example: Tensor) -> nn.Module:
    """Returns a smaller copy of a model, without some units, and without their biases and their part of batch norms.

    Its outputs are those of the model with zeros in place of the units' weights.

    Args:
        model: The model, left as it is.
        groups: Groups of units, as `find_units` returns them.
        removed: Units to remove, {name of the group: units}.
        example: Input, (n, channels, height, width).

    Raises:
        ImportError: If Torch-Pruning is not installed.
        ValueError: If no unit of a group would stay.
    """
    small = copy.deepcopy(model)
    flags = {name: parameter.requires_grad for name, parameter in small.named_parameters()}
    graph = dependency_graph(small, example.to(next(small.parameters()).device))
    for group in groups:
        units = removed[group.name]
        if len(units) == len(group):
            raise ValueError(f"all units of {group.name} would go: one must stay")
        if not len(units):
            continue
        root = small.get_submodule(group.name)
        lines = group.lines(group.parts[0], units).tolist()
        graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, lines).prune()
        if group.kind == "head":
            attention: Any = small.get_submodule(group.name.rpartition(".")[0])
            attention.num_heads -= len(units)
            attention.attn_dim = attention.num_heads * attention.head_dim
    small.train(model.training)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(flags[name])
        parameter.grad = None
    return small
