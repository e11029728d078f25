"""Selection of the weights to prune, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn


def _names_it_answers_to(name: str) -> list[list[str]]:
    """The sets of names under which a weight may be asked for: its own, or all three split forms of a fused qkv."""
    names = [[name]]
    if ".qkv." in f".{name}":
        names += [[name.replace("qkv", part) for part in parts] for parts in ("qkv", ("query", "key", "value"))]
        names += [[name.replace("qkv", f"{part}_proj") for part in "qkv"]]
    return names


def select_layers(model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Parameter]:
    r"""Finds the weights whose names match any of the patterns.

    A pattern that asks for the split weights q, k and v of an attention also selects a fused `qkv`, so that a regular
    expression written for one implementation never misses the other's weights silently.

    Args:
        model: Module that has the weights.
        patterns: Regular expressions that must match a whole parameter name, such as `.*(attn.qkv|mlp.fc\d).weight`.

    Returns:
        Parameter names to weights of two or more dimensions, in the model's order.

    Raises:
        ValueError: If a pattern is no regular expression or matches no weight of two or more dimensions.
    """
    weights = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"layer pattern {pattern!r} is no regular expression: {error}") from None
        matched = {
            name
            for name in weights
            if any(all(regex.fullmatch(alias) for alias in group) for group in _names_it_answers_to(name))
        }
        if not matched:
            known = ", ".join(list(weights)[:12])
            raise ValueError(f"layer pattern {pattern!r} matches no weight of the model; its weights are {known}, ...")
        chosen |= matched
    return {name: p for name, p in weights.items() if name in chosen}


def owner(model: nn.Module, name: str) -> nn.Module:
    """Returns the module that a parameter belongs to."""
    return model.get_submodule(name.rpartition(".")[0])
