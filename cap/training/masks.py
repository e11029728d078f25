"""Masks that keep pruned weights at zero while a model trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cap.layers import all_parameters


class Masks:
    """Keep-masks bound to a model's weights.

    Args:
        model: Model that trains.
        masks: Keep-masks, {parameter name: boolean mask}, True where the weight is kept; as in `PrunedWeights.masks`.

    Raises:
        ValueError: If a mask fits no weight of the model.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        weights = all_parameters(model)
        for name, mask in masks.items():
            if name not in weights or weights[name].shape != mask.shape:
                raise ValueError(f"mask {name} of shape {tuple(mask.shape)} fits no weight of the model")
        self._pairs = {name: (weights[name], mask.to(weights[name].device)) for name, mask in masks.items()}

    @torch.no_grad()
    def apply(self) -> None:
        """Sets every masked weight to zero."""
        for weight, mask in self._pairs.values():
            weight.mul_(mask)

    def attach(self, optimizer: torch.optim.Optimizer) -> RemovableHandle:
        """Re-applies the masks now and after every step of the optimiser; `remove()` of what it returns ends that."""
        self.apply()
        return optimizer.register_step_post_hook(lambda *_: self.apply())

    def check(self) -> None:
        """Makes sure that the masks hold.

        Raises:
            RuntimeError: If a masked weight is not zero; it names the layer.
        """
        for name, (weight, mask) in self._pairs.items():
            if moved := int((weight.detach()[~mask] != 0).sum()):
                raise RuntimeError(f"{moved} masked weights of {name} are not zero: something else wrote to them")

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the masks by name, to be saved with a checkpoint."""
        return {name: mask for name, (_, mask) in self._pairs.items()}
