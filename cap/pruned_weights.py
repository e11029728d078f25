"""What a pruner returns, and the form that it must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PrunedWeights:
    """Pruned weights and their masks.

    Attributes:
        weights: Weights, {name: weight}, zero wherever the mask is False.
        masks: Keep-masks, {name: mask}, boolean, True where the weight is kept.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]

    @property
    def sparsity(self) -> float:
        """Fraction of masked weights over all layers."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return 1 - kept / sum(mask.numel() for mask in self.masks.values())

    @torch.no_grad()
    def apply_to(self, model: nn.Module) -> None:
        """Writes the weights into a model of the same architecture."""
        for name, weight in self.weights.items():
            model.get_parameter(name).copy_(weight)


def check_names(what: str, found: Iterable[str], layers: Iterable[str]) -> None:
    """Refuses names that are not those of the layers.

    Args:
        what: Name of what has them, for the message.
        found: Names that were found.
        layers: Names that were asked for.

    Raises:
        ValueError: If there are others, or some are missing.
    """
    if missing := set(layers) - set(found):
        raise ValueError(f"{what}: no {', '.join(sorted(missing))}")
    if stray := set(found) - set(layers):
        raise ValueError(f"{what}: {', '.join(sorted(map(str, stray)))} is no layer that was asked for")


def check_form(pruned: PrunedWeights, layers: Mapping[str, Tensor], pattern: object) -> None:
    """Refuses what is not of the form that `Pruner.prune` is to return; the values may be any.

    Args:
        pruned: Value that `prune` returned.
        layers: Weights to prune, {name: weight}.
        pattern: Pattern that was asked for, for the message.

    Raises:
        ValueError: If names, shapes or types are others than those of the layers, or a masked weight is not zero.
    """
    if not isinstance(pruned, PrunedWeights):
        raise ValueError(f"prune returned {type(pruned).__name__}, not cap.PrunedWeights")
    for what, tensors in (("weights", pruned.weights), ("masks", pruned.masks)):
        if not isinstance(tensors, Mapping):
            raise ValueError(f"at {pattern} the {what} are {type(tensors).__name__}, not a dictionary by layer")
        check_names(f"{what} at {pattern}", tensors, layers)
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise ValueError(f"the {what} of {name} at {pattern} are {type(tensor).__name__}, not a tensor")
    for name, dense in layers.items():
        weight, mask = pruned.weights[name], pruned.masks[name]
        if weight.shape != dense.shape or mask.shape != dense.shape:
            raise ValueError(
                f"{name} has shape {tuple(dense.shape)}, but at {pattern} its weights {tuple(weight.shape)} "
                f"and its mask {tuple(mask.shape)}"
            )
        if mask.dtype != torch.bool:
            raise ValueError(f"the mask of {name} at {pattern} is {mask.dtype}, not torch.bool")
        if weight.dtype != dense.dtype:
            raise ValueError(f"the weights of {name} at {pattern} are {weight.dtype}, not {dense.dtype}")
        if left := int((weight[~mask] != 0).sum()):
            raise ValueError(f"{left} weights of {name} are not zero at {pattern} although their mask is False")
