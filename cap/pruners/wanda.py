"""Wanda."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, from_columns, second_moments
from cap.pruner import ScorePruner
from cap.pruners._layerwise import LayerwisePruner
from cap.registry import register


@register("wanda")
class Wanda(LayerwisePruner, ScorePruner):
    """Weight times norm of its input (Sun et al., 2023, arXiv 2306.11695, eq. 1): `S_ij = |W_ij| ||X_j||_2`.

    Scores are compared among the weights of one output; no weight is changed.
    """

    full_moments = False

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns each weight's rank in its output, so that all outputs lose the same number of weights."""
        ranks = {}
        for name, squares in second_moments(model, layers, calibration, full=False).items():
            score = as_columns(layers[name], len(squares)).abs() * squares.sqrt().unsqueeze(1)
            ranks[name] = from_columns(ranks_in_outputs(score), layers[name])
        return ranks


def ranks_in_outputs(score: Tensor) -> Tensor:
    """Returns the rank of each score among those of its output, (groups, outputs of a group, columns), from 0."""
    order = score.argsort(dim=2, stable=True)
    place = torch.arange(order.shape[2], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(2, order, place).double()
