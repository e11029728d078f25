"""SparseGPT."""

from __future__ import annotations

import torch
from torch import Tensor

from cap.columns import as_columns, from_columns, obs_column_update, split_count, upper_factor
from cap.cost import FitSize
from cap.patterns import NM, Pattern, Unstructured
from cap.pruners._options import check_count, check_positive
from cap.pruners._sequential import SequentialPruner
from cap.registry import register
from cap.selection import keep_highest, keep_nm


@register("sparsegpt")
class SparseGPT(SequentialPruner):
    """One sweep over the columns of each layer (Frantar and Alistarh, 2023, arXiv 2301.00774, Algorithm 1).

    With H the dampened second moment of the layer's inputs and C the upper Cholesky factor of its inverse, columns are
    gone through from left to right: a removed weight's error `w / C_cc` is spread over the columns to its right. The
    mask of a block of columns is chosen by `w^2 / C_cc^2` when the sweep arrives there (N:M: of each group).

    Args:
        block_size: Number of columns whose mask is chosen at a time (Bs in the paper).
        damp: Dampening, relative to the mean of H's diagonal.
        sequential: Whether a layer's inputs are those of the model with the layers before it pruned, as published;
            `prune` then goes through the model anew for every pattern. Otherwise they are those of the dense model.
    """

    def __init__(self, block_size: int = 128, damp: float = 0.01, sequential: bool = True) -> None:
        super().__init__(sequential)
        check_count("block_size", block_size)
        check_positive("damp", damp)
        self.block_size, self.damp = block_size, damp

    def solve_work(self, size: FitSize) -> float:
        """Returns the work of spreading each weight's error within its block of columns."""
        return size.weights * self.block_size

    def prepare(self, weight: Tensor, moment: Tensor) -> Tensor:
        """Returns C, (groups, columns, columns), float64."""
        return upper_factor(moment, self.damp)

    def solve(self, weight: Tensor, prepared: Tensor, pattern: Pattern, removed: int) -> tuple[Tensor, Tensor]:
        """Returns the weight after one sweep with C, and its mask."""
        factors = prepared
        rows = as_columns(weight, len(factors)).to(torch.float64, copy=True)  # the sweep changes them in place
        present = rows != 0
        keep = torch.empty_like(present)
        parts = [(group, part) for group in range(len(rows)) for part in self._column_blocks(rows.shape[2], pattern)]
        zeros = [int((~present[group, :, part]).sum()) for group, part in parts]
        alive = [present[group, :, part].numel() - gone for (group, part), gone in zip(parts, zeros, strict=True)]
        counts = split_count(max(0, removed - sum(zeros)), alive)
        if removed < sum(zeros) and isinstance(pattern, Unstructured):  # zeros beyond the count stay in the mask
            zeros = split_count(removed, zeros)
        for (group, part), gone, count in zip(parts, zeros, counts, strict=True):
            w, factor = rows[group], factors[group]
            score = (w[:, part] / factor.diagonal()[part]).square()
            score[~present[group, :, part]] = -1
            chosen = keep_nm(score, pattern, "") if isinstance(pattern, NM) else keep_highest(score, gone + count)
            keep[group, :, part] = chosen
            obs_column_update(w, factor, keep[group] & present[group], part)
        mask = from_columns(keep, weight)
        return from_columns(rows, weight).to(weight.dtype) * (mask & (weight != 0)), mask

    def _column_blocks(self, columns: int, pattern: Pattern) -> list[slice]:
        """Returns the columns whose mask is chosen together."""
        width = pattern.of if isinstance(pattern, NM) else self.block_size
        return [slice(start, min(start + width, columns)) for start in range(0, columns, width)]
