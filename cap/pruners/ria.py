"""RIA, relative importance and activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, from_columns, second_moments
from cap.pruner import ScorePruner
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_not_negative
from cap.registry import register


@register("ria")
class RIA(LayerwisePruner, ScorePruner):
    """Relative importance times activations (Zhang et al., ICLR 2024; restated in arXiv 2501.18980).

    `S_ij = (|W_ij| / sum_k |W_kj| + |W_ij| / sum_k |W_ik|) ||X_j||_2^a`: a weight counts by its share in what leaves
    its input and in what reaches its output. Scores are compared among all weights of a layer; no weight is changed.

    Args:
        power: a, exponent of the input's norm.
    """

    full_moments = False

    def __init__(self, power: float = 0.5) -> None:
        check_not_negative("power", power)
        self.power = power

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns S, in which a share of nothing is 0."""
        result = {}
        for name, squares in second_moments(model, layers, calibration, full=False).items():
            size = as_columns(layers[name], len(squares)).double().abs()  # (groups, outputs of a group, columns)
            of_input, of_output = (
                size / size.sum(dim, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny) for dim in (1, 2)
            )
            norm = squares.sqrt().unsqueeze(1)
            result[name] = from_columns((of_input + of_output) * norm**self.power, layers[name])
        return result
