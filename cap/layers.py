"""Selection of the weights to prune, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

COMPILED = "_orig_mod"  # the name that `torch.compile` gives to the model in its own


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

    A weight that several modules share is selected once, under the first of its names that is matched. The names in a
    model from `torch.compile` are those of the model that was compiled.

    Returns:
        Parameter names to weights of two or more dimensions, in the model's order.

    Raises:
        ValueError: If a pattern is no regular expression or matches no weight of two or more dimensions.
    """
    weights = {name: p for name, p in all_parameters(model).items() if p.ndim >= 2}
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
    first: dict[int, str] = {}
    for name, weight in weights.items():
        if name in chosen:
            first.setdefault(id(weight), name)
    return {name: weights[name] for name in first.values()}


def all_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the parameters under all their names, without the part that `torch.compile` puts into a name."""
    named = model.named_parameters(remove_duplicate=False)
    return {".".join(part for part in name.split(".") if part != COMPILED): p for name, p in named}


def check_layers(model: nn.Module, layers: Mapping[str, Tensor]) -> None:
    """Refuses layers that cannot be pruned in this model.

    Raises:
        ValueError: If there are none, one is on the meta device, or two are the same.
    """
    if not layers:
        raise ValueError("there are no layers to prune: choose some with cap.select_layers")
    parameters, known = all_parameters(model), dict[int, str]()
    for name, weight in layers.items():
        if weight.is_meta:
            raise ValueError(f"{name} is on the meta device, where weights have no values: load the model's weights")
        other = known.setdefault(id(parameters.get(name, name)), name)
        if other != name:
            raise ValueError(f"{other} and {name} are one and the same weight: leave one of the names out")


def owner(model: nn.Module, name: str) -> nn.Module:
    """Returns the module that a parameter belongs to, not the one that `torch.compile` made of it."""
    module = model.get_submodule(name.rpartition(".")[0])
    while (inner := module._modules.get(COMPILED)) is not None:
        module = inner
    return module


def owners(model: nn.Module, name: str) -> list[nn.Module]:
    """Returns all modules that hold a parameter, its own first; more than one if it is shared."""
    own, weight = owner(model, name), model.get_parameter(name)
    others = (module for module in model.modules() if any(p is weight for p in module._parameters.values()))
    return [own, *(module for module in others if module is not own)]
