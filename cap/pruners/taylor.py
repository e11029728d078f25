"""First-order Taylor importance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.pruners._options import check_count
from cap.registry import register
from cap.structured.pruning import UnitPruner
from cap.structured.selection import UnitRanking
from cap.structured.units import UnitGroup


@register("taylor")
class Taylor(UnitPruner):
    """First-order Taylor importance (Molchanov et al., 2019, arXiv 1906.10771, eq. 8), of weights or of whole units.

    To first order the loss of image i changes by `sum_S g_ij w_j` if the weights S go together; the score is the square
    of it, averaged over the gradients. A single weight is its own S.

    Args:
        num_gradients: m, number of gradients; by default one per calibration image.
    """

    def __init__(self, num_gradients: int | None = None) -> None:
        check_count("num_gradients", num_gradients, optional=True)
        self.num_gradients = num_gradients

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns the mean of `(g_ij w_j)^2`, and keeps that of the units."""
        total = {name: torch.zeros(w.numel(), dtype=torch.float64, device=w.device) for name, w in layers.items()}
        device = next(iter(layers.values())).device
        units = {group.name: torch.zeros(len(group), dtype=torch.float64, device=device) for group in self.units}
        for batch in calibration.gradient_batches(model, layers, self.num_gradients, divided=True):
            products = {name: batch.of(name).double() * weight.flatten() for name, weight in layers.items()}
            for name, rows in products.items():
                total[name] += rows.square().sum(0)
            for group in self.units:
                units[group.name] += _sums(group, products, layers).square().sum(0)
        distributed.all_reduce_sum(*total.values(), *units.values())
        count = calibration.count(self.num_gradients)
        self._unit_scores = {name: score.cpu() / count for name, score in units.items()}
        return {name: total[name].view_as(weight) / count for name, weight in layers.items()}

    def rank_units(self, group: UnitGroup) -> UnitRanking:
        """Ranks by the score of the unit as a whole, per weight."""
        return UnitRanking.by(self._unit_scores[group.name] / group.size(self.weights))


def _sums(group: UnitGroup, products: Mapping[str, Tensor], layers: Mapping[str, Tensor]) -> Tensor:
    """Returns the sum over each unit's weights, image by image: (images, units)."""
    sums = []
    for part in group.parts:
        rows = products[part.parameter]
        lines = rows.view(len(rows), *layers[part.parameter].shape).movedim(part.dim + 1, 1).flatten(2).sum(2)
        sums.append(lines[:, part.index.to(lines.device)].sum(2))
    return torch.stack(sums).sum(0)
