"""The layer-wise objective on the blocks of the Fisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import second_moments


@dataclass(frozen=True)
class Reconstruction:
    """Second moments of the layers' inputs, which are mixed into the blocks of the Fisher.

    The mean squared change of a layer's outputs by a change of its weights is a quadratic form as well: with x what the
    weights of an output are multiplied with, that of the block `X_b`, whose entries are those of `E[x x^T]` for two
    weights of one output and zero for weights of different outputs. MOONSHOT (Afriat et al., 2026, arXiv 2604.13287)
    prunes by both forms at once; here the block of the Fisher becomes

        F_b + mu tr(F_b) / tr(X_b) X_b

    so that at mu = 1 both parts have the same trace in every block. That keeps the weight of one block beside another
    that the Fisher gives them, and does not depend on the units of loss and inputs. With mu large this is the
    layer-wise objective, each output weighted by the Fisher's trace for it.

    Attributes:
        mu: Weight of the layer-wise part, larger than 0.
        moments: `E[x x^T]`, {name: (groups, columns, columns), float64}, columns in the weight's own order.
        layers: Weights, {name: weight}; rows and columns of those that are zero are zero, as in the Fisher.
    """

    mu: float
    moments: Mapping[str, Tensor]
    layers: Mapping[str, Tensor]

    @classmethod
    def measure(
        cls, mu: float, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration
    ) -> Reconstruction:
        """Goes through the calibration images once.

        Args:
            mu: Weight of the layer-wise part.
            model: The model.
            layers: Weights of Linear and convolution layers, {name: weight}.
            calibration: Calibration images, all of which are used.

        Raises:
            ValueError: If a layer is of another kind, or is not called, or an input is not finite.
        """
        found = second_moments(model, layers, calibration)
        return cls(mu, {name: _in_own_order(found[name], weight) for name, weight in layers.items()}, layers)

    def blocks(self, name: str, part: slice, fisher: Tensor) -> Tensor:
        """Returns `mu tr(F_b) / tr(X_b) X_b` for a range of blocks: (blocks, B, B), float64.

        Args:
            name: Name of the layer.
            part: Range of the layer's blocks.
            fisher: F without dampening, (blocks, B, B).
        """
        weight, moment, size = self.layers[name], self.moments[name], fisher.shape[1]
        at = torch.arange(part.start * size, part.stop * size, device=fisher.device).view(-1, size)
        inside = at < weight.numel()
        at = at.clamp(max=weight.numel() - 1)
        present = inside & (weight.flatten()[at] != 0)
        columns = weight[0].numel()
        output, column = at // columns, at % columns
        group = output // (len(weight) // len(moment))
        found = moment[group[:, :, None], column[:, :, None], column[:, None, :]]
        together = (output[:, :, None] == output[:, None, :]) & present[:, :, None] & present[:, None, :]
        found *= together
        traces = [matrix.diagonal(dim1=1, dim2=2).sum(1) for matrix in (fisher, found)]
        scale = torch.where(traces[1] > 0, self.mu * traces[0] / traces[1], 0.0)
        return found.mul_(scale[:, None, None])


def moment_bytes(layers: Mapping[str, Tensor], groups: Mapping[str, int]) -> int:
    """Returns the memory of the second moments.

    Args:
        layers: Weights, {name: weight}.
        groups: Number of groups of each convolution, {name: groups}; 1 for others.
    """
    return sum(8 * groups[name] * weight[0].numel() ** 2 for name, weight in layers.items())


def _in_own_order(moment: Tensor, weight: Tensor) -> Tensor:
    """Returns second moments with columns by input, then by kernel position, as a weight's entries are ordered."""
    if weight.ndim == 2:
        return moment
    inputs, groups = weight.shape[1], len(moment)
    kernel = weight[0, 0].numel()
    apart = moment.view(groups, kernel, inputs, kernel, inputs)
    return apart.permute(0, 2, 1, 4, 3).reshape(groups, kernel * inputs, kernel * inputs)
