"""Units of a model, found in the dependency graph of Torch-Pruning (Fang et al., 2023, arXiv 2301.12900)."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cap.structured.units import UnitGroup, UnitPart

EXTRA = "torch-pruning is not installed: pip install 'cap-bench[structured]'"


def missing() -> str | None:
    """Returns why units cannot be found and cut here, or None if they can."""
    return None if importlib.util.find_spec("torch_pruning") is not None else EXTRA


def dependency_graph(model: nn.Module, example: Tensor) -> Any:
    """Returns Torch-Pruning's graph of a model, in which modules are pruned in place.

    Args:
        model: The model, in eval mode; gradients are switched on, from which the graph is read.
        example: Input, (n, channels, height, width).

    Raises:
        ImportError: If Torch-Pruning is not installed.
    """
    if reason := missing():
        raise ImportError(reason)
    import torch_pruning

    model.eval().requires_grad_(True)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # parameters outside of layers: what depends on them has no units
        return torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example)


def find_units(model: nn.Module, layers: Mapping[str, Tensor], example: Tensor) -> tuple[UnitGroup, ...]:
    """Finds the units whose weights are all among the layers to prune.

    A group of channels that Torch-Pruning finds consists of units if what depends on it are outputs and inputs of
    linear layers and ungrouped convolutions, and batch norms: a LayerNorm sees a channel that is zero, so the channels
    of a residual stream have no units. The outputs of a fused `qkv` are units head by head where the attention says
    `num_heads`, `head_dim` and `attn_dim`, as timm's does; an attention that takes its width from its input, as XCiT's,
    has no units.

    Args:
        model: The model, left as it is.
        layers: Weights to prune, {name: weight}.
        example: Input, (n, channels, height, width).

    Returns:
        Groups in the order of the model, each of at least two units.

    Raises:
        ImportError: If Torch-Pruning is not installed.
        ValueError: If there are no units.
    """
    traced = copy.deepcopy(model)
    graph = dependency_graph(traced, example.to(next(traced.parameters()).device))
    names = {module: name for name, module in traced.named_modules()}
    found = {}
    for members in graph.get_all_groups(root_module_types=[nn.Linear, nn.Conv2d]):
        root = names[members[0].dep.target.module]
        group = _attention(traced, root, members, names) or _channels(root, members, names)
        if group is not None and len(group) > 1 and all(part.parameter in layers for part in group.parts):
            found[root] = group
    if not found:
        raise ValueError("the model has no units: no hidden units, channels or heads lie between the layers to prune")
    return tuple(found[name] for name, _ in traced.named_modules() if name in found)


def _parts(members: Any, names: Mapping[nn.Module, str]) -> list[tuple[str, int, list[int]]] | None:
    """Returns (weight, dimension, positions) of a group; None if something in it has no part without a unit."""
    from torch_pruning.ops import _ConcatOp, _ElementWiseOp, _ReshapeOp, _SplitOp, _UnbindOp

    parts = []
    for dependency, positions in members:
        module = dependency.target.module
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            outputs = "out_channels" in dependency.handler.__name__
            parts.append((f"{names[module]}.weight", 0 if outputs else 1, list(positions)))
        elif not isinstance(
            module, nn.modules.batchnorm._BatchNorm | _ElementWiseOp | _ReshapeOp | _SplitOp | _UnbindOp | _ConcatOp
        ):
            return None
    twice = len({weight for weight, _, _ in parts}) < len(parts)
    return None if twice or not any(dim for _, dim, _ in parts) else parts


def _channels(root: str, members: Any, names: Mapping[nn.Module, str]) -> UnitGroup | None:
    """Returns the units of a group in which channel i is position i of every weight."""
    parts = _parts(members, names)
    inside_attention = any(hasattr(parent, "num_heads") for parent in _parents(root, names))
    if parts is None or inside_attention or any(at != list(range(len(parts[0][2]))) for _, _, at in parts):
        return None
    index = torch.arange(len(parts[0][2])).unsqueeze(1)
    return UnitGroup(root, "channel", tuple(UnitPart(weight, dim, index) for weight, dim, _ in parts))


def _attention(model: nn.Module, root: str, members: Any, names: Mapping[nn.Module, str]) -> UnitGroup | None:
    """Returns the heads of a fused qkv of an attention that keeps its own width."""
    attention: Any = model.get_submodule(root.rpartition(".")[0])
    parts = _parts(members, names)
    if parts is None or not all(hasattr(attention, value) for value in ("num_heads", "head_dim", "attn_dim")):
        return None
    heads, width = attention.num_heads, attention.attn_dim
    if sorted(dim for _, dim, _ in parts) != [0, 1] or [len(at) for _, _, at in parts] != [3 * width, width]:
        return None
    columns = torch.arange(width).view(heads, -1)
    rows = torch.cat([columns + part * width for part in range(3)], dim=1)
    (qkv, _, _), (output, _, _) = parts
    return UnitGroup(root, "head", (UnitPart(qkv, 0, rows), UnitPart(output, 1, columns)))


def _parents(name: str, names: Mapping[nn.Module, str]) -> Collection[nn.Module]:
    """Returns the module that a module belongs to directly."""
    return [module for module, known in names.items() if known == name.rpartition(".")[0]]
