"""Pruned models as safetensors: the state under its own names, each keep-mask under `mask.<weight>`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.core.files import atomic_write

PREFIX = "mask."  # of the name of a mask


@dataclass(frozen=True)
class PrunedState:
    """State of a pruned model, and the masks that it keeps.

    Attributes:
        weights: State of the model, {name: tensor}.
        masks: Keep-masks, {name of the weight: mask, 1 = kept}.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]


def save_pruned(path: Path, model: nn.Module | None, masks: Mapping[str, Tensor]) -> None:
    """Writes a pruned model.

    Args:
        path: Safetensors file; its folder is made if need be.
        model: Pruned model; None to write masks alone.
        masks: Keep-masks, {name of the weight: mask, 1 = kept}.
    """
    weights = model.state_dict() if model is not None else {}
    tensors = {**weights, **{f"{PREFIX}{name}": mask for name, mask in masks.items()}}
    with atomic_write(path) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)


def load_pruned(path: Path) -> PrunedState:
    """Reads what `save_pruned` wrote, onto the CPU."""
    tensors = load_file(path)
    masks = {name.removeprefix(PREFIX): tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)}
    return PrunedState(tensors, masks)
