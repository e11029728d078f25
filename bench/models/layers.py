"""Layers of a model that are pruned where nobody names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

STEM, HEAD, DEPTHWISE = "stem", "head", "depthwise"
ATTENTION = "of nn.MultiheadAttention: --layers names them"  # parameters of no layer of their own
MANY = {DEPTHWISE: "convolution", ATTENTION: "projection"}  # of which the number is told
SHOWN = 6  # names that a line lists


@dataclass(frozen=True)
class FoundLayers:
    """Weights of all Linear and Conv2d layers of a model.

    Attributes:
        prunable: Names of those that are pruned, in the model's order.
        left_out: {name: why it is not pruned}, STEM, HEAD, DEPTHWISE or ATTENTION.
    """

    prunable: tuple[str, ...]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        left = f"; not {', '.join(f'{name} ({why})' for name, why in _some(self.left_out))}" if self.left_out else ""
        return f"prunes {listed(self.prunable)}{left}"


def listed(names: tuple[str, ...]) -> str:
    """Returns how many weights there are, and the first and last of their names."""
    shown = names if len(names) <= SHOWN else (*names[: SHOWN - 2], "...", names[-1])
    return f"{len(names)} weight{'s' if names[1:] else ''}: {', '.join(shown)}"


def _some(left_out: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the stem and the head, and of the others how many there are of each kind."""
    found = [(name, why) for name, why in left_out.items() if why not in MANY]
    for kind, noun in MANY.items():
        if count := [*left_out.values()].count(kind):
            found.append((f"{count} {noun}{'s' if count > 1 else ''}", kind))
    return found


def find_layers(model: nn.Module) -> FoundLayers:
    """Finds the weights to prune: of all Linear and Conv2d layers but the stem, the head and depthwise convolutions.

    Stem and head are those that timm has on record for the model; of another model its first layer and its last.
    """
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)}
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    names = list(layers)
    stem = _recorded(config, "first_conv", names) or set(names[:1])
    head = _recorded(config, "classifier", names) or set(names[-1:])
    left_out: dict[str, str] = {}
    for name, layer in layers.items():
        if name in stem:
            left_out[f"{name}.weight"] = STEM
        elif name in head:
            left_out[f"{name}.weight"] = HEAD
        elif isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.groups == layer.in_channels:
            left_out[f"{name}.weight"] = DEPTHWISE
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            own = [key for key, _ in module.named_parameters(recurse=False) if key.endswith("_proj_weight")]
            left_out |= dict.fromkeys((f"{name}.{key}" for key in own), ATTENTION)
    every = [f"{name}.weight" for name in names]
    return FoundLayers(tuple(name for name in every if name not in left_out), left_out)


def _recorded(config: Mapping[str, Any], key: str, names: list[str]) -> set[str]:
    """Returns the layers that a configuration of timm names: one, several, or a module that holds one."""
    value = config.get(key) or ()
    wanted = [value] if isinstance(value, str) else list(value)
    return {name for name in names for one in wanted if name == one or name.startswith(f"{one}.")}
