"""SparseGPT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, from_columns, obs_column_update, second_moments, split_count, upper_factor
from cap.cost import FitSize, FitWork
from cap.elimination import layer_in_errors
from cap.patterns import NM, Pattern, Unstructured
from cap.pruner import PrunedWeights
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_count, check_positive
from cap.registry import register
from cap.selection import check_groups, keep_highest, keep_nm, layer_counts


@register("sparsegpt")
class SparseGPT(LayerwisePruner):
    """One sweep over the columns of each layer (Frantar and Alistarh, 2023, arXiv 2301.00774, Algorithm 1).

    With H the dampened second moment of the layer's inputs and C the upper Cholesky factor of its inverse, columns are
    gone through from left to right: a removed weight's error `w / C_cc` is spread over the columns to its right. The
    mask of a block of columns is chosen by `w^2 / C_cc^2` when the sweep arrives there (N:M: of each group).

    Args:
        block_size: Number of columns whose mask is chosen at a time (Bs in the paper).
        damp: Dampening, relative to the mean of H's diagonal.
    """

    monotone = False  # what has been swept decides what goes next

    def __init__(self, block_size: int = 128, damp: float = 0.01) -> None:
        check_count("block_size", block_size)
        check_positive("damp", damp)
        self.block_size, self.damp = block_size, damp

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments, and of spreading each weight's error within its block of columns."""
        return replace(super().work(size), solve=size.weights * self.block_size)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `w^2 / C_cc^2` of the dense weights; what goes is decided during the sweep."""
        self.factors = {}
        scores = {}
        for name, moment in second_moments(model, layers, calibration).items():
            with layer_in_errors(name, 0):
                self.factors[name] = upper_factor(moment, self.damp)
            diagonal = self.factors[name].diagonal(dim1=1, dim2=2)
            score = (as_columns(layers[name], len(moment)) / diagonal.unsqueeze(1)).square()
            scores[name] = from_columns(score, layers[name])
        return scores

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights of a sweep at this pattern; weights that are zero already stay so."""
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        removed = layer_counts(shapes, pattern) if isinstance(pattern, Unstructured) else dict.fromkeys(shapes, 0)
        weights, masks = {}, {}
        for name, weight in self.weights.items():
            factors = self.factors[name]
            rows = as_columns(weight, len(factors)).to(torch.float64, copy=True)  # the sweep changes them in place
            present = rows != 0
            keep = torch.empty_like(present)
            parts = [(group, part) for group in range(len(rows)) for part in self._column_blocks(name, rows, pattern)]
            zeros = [int((~present[group, :, part]).sum()) for group, part in parts]
            alive = [present[group, :, part].numel() - gone for (group, part), gone in zip(parts, zeros, strict=True)]
            counts = split_count(max(0, removed[name] - sum(zeros)), alive)
            for (group, part), gone, count in zip(parts, zeros, counts, strict=True):
                w, factor = rows[group], factors[group]
                score = (w[:, part] / factor.diagonal()[part]).square()
                score[~present[group, :, part]] = -1
                chosen = keep_nm(score, pattern, name) if isinstance(pattern, NM) else keep_highest(score, gone + count)
                keep[group, :, part] = chosen & present[group, :, part]
                obs_column_update(w, factor, keep[group], part)
            masks[name] = from_columns(keep, weight)
            weights[name] = from_columns(rows, weight).to(weight.dtype) * masks[name]
        return PrunedWeights(weights, masks)

    def _column_blocks(self, name: str, rows: Tensor, pattern: Pattern) -> list[slice]:
        """Returns the columns whose mask is chosen together."""
        width, columns = self.block_size, rows.shape[2]
        if isinstance(pattern, NM):
            width = pattern.of
            check_groups(self.weights[name], width, name)
        return [slice(start, min(start + width, columns)) for start in range(0, columns, width)]
