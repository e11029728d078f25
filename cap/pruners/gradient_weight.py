"""Gradient times weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.pruner import ScorePruner
from cap.pruners._options import check_count
from cap.registry import register


@register("gradient_weight")
class GradientWeight(ScorePruner):
    """Gradient times weight (GrW in Kuznedelev et al., 2023, arXiv 2210.09223).

    A first-order saliency as of Molchanov et al., 2017 (arXiv 1611.06440).

    The loss changes by `-g_j w_j` to first order if weight j is removed; the score is the sum of its absolute value
    over the gradients, `sum_i |g_ij w_j|`.

    Args:
        num_gradients: m, number of gradients; by default one per calibration image.
    """

    def __init__(self, num_gradients: int | None = None) -> None:
        check_count("num_gradients", num_gradients, optional=True)
        self.num_gradients = num_gradients

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `|w_j| sum_i |g_ij|`."""
        total = {name: torch.zeros(w.numel(), dtype=torch.float64, device=w.device) for name, w in layers.items()}
        for batch in calibration.gradient_batches(model, layers, self.num_gradients, divided=True):
            for name, rows in total.items():
                rows += batch.of(name).abs_().sum(0)
        distributed.all_reduce_sum(*total.values())
        return {name: weight.abs() * total[name].view_as(weight) for name, weight in layers.items()}
