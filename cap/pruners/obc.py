"""Optimal Brain Compression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, from_columns, second_moments, upper_factor
from cap.cost import FitSize, FitWork
from cap.elimination import compensate, eliminate, layer_in_errors
from cap.fisher.blocks import block_chunks
from cap.patterns import NM, Pattern
from cap.pruner import ScorePruner
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_positive
from cap.registry import register
from cap.selection import check_groups


@register("obc")
class OBC(LayerwisePruner, ScorePruner):
    """ExactOBS, greedy in every row (Frantar, Singh and Alistarh, 2022, arXiv 2208.11580, Algorithm 1).

    The squared error of a layer's outputs is a quadratic form with H, the dampened second moment of its inputs, the
    same for all rows. In each row weights are removed one at a time as in CAP's blocks; the cumulative errors of all
    rows of the layer are ranked together, and what stays takes the values of the joint OBS update.

    Args:
        damp: Dampening, relative to the mean of H's diagonal.
    """

    def __init__(self, damp: float = 0.01) -> None:
        check_positive("damp", damp)
        self.damp = damp

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments, and of the greedy loop: for each weight a matrix of its row's width.

        A layer is taken to be as wide as it is high.
        """
        return replace(super().work(size), solve=size.weights * (size.largest_layer or size.weights))

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns the cumulative error at which the greedy loop removes each weight."""
        self.inverses = {}
        for name, moment in second_moments(model, layers, calibration).items():
            with layer_in_errors(name, 0):
                factor = upper_factor(moment, self.damp)
            self.inverses[name] = torch.bmm(factor.transpose(1, 2), factor)
        return {name: self._greedy(name, None) for name in layers}

    def _greedy(self, name: str, pattern: NM | None) -> Tensor:
        """Returns the cumulative error at which each weight goes, inf if it stays."""
        rows = as_columns(self.weights[name], len(self.inverses[name]))
        losses = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
        for group, inverse in enumerate(self.inverses[name]):
            for part in block_chunks(*rows.shape[1:]):
                w = rows[group, part]
                losses[group, part] = eliminate(w, inverse.expand(len(w), -1, -1), pattern).loss
        return from_columns(losses, self.weights[name])

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Removes the weights of lowest cumulative error; for N:M the greedy loop runs with closed groups."""
        if not isinstance(pattern, NM):
            return super().select(pattern)
        for name, weight in self.weights.items():
            check_groups(weight, pattern.of, name)
        return {name: self._greedy(name, pattern).isinf() for name in self.weights}

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the joint OBS update of every row; weights that are zero already stay so, kept or not."""
        result = {}
        for name, mask in masks.items():
            stays = mask & (self.weights[name] != 0)
            rows, keep = (as_columns(t, len(self.inverses[name])) for t in (self.weights[name], stays))
            updated = torch.empty_like(rows)
            for group, inverse in enumerate(self.inverses[name]):
                for part in block_chunks(*rows.shape[1:]):
                    w = rows[group, part]
                    updated[group, part] = compensate(w, inverse.expand(len(w), -1, -1), keep[group, part])
            result[name] = from_columns(updated, self.weights[name])
        return result
