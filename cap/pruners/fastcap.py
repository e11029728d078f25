"""FastCAP, the variant of CAP with one Fisher block per layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.columns import obs_column_update, upper_factor
from cap.cost import FitBytes, FitSize, FitWork
from cap.elimination import layer_in_errors
from cap.fisher.blocks import merge_blocks, split_blocks
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._recomputing import RecomputingPruner
from cap.registry import register


@register("fastcap")
class FastCAP(RecomputingPruner, LayerwisePruner):
    """One sweep over columns, one Fisher block a layer (Kuznedelev et al., 2023, arXiv 2210.09223, Algorithm 2).

    The weights of a layer are blocks of B consecutive ones, (num_blocks, B), and one B x B matrix serves all of them:
    `F = 2/m sum_i sum_b g_ib g_ib^T`. With C the upper Cholesky factor of its dampened inverse, weights are chosen by
    `w^2 / C_cc^2`, and from left to right the error `w / C_cc` of each one removed is spread over the columns to its
    right.

    Args:
        block_size: B, number of consecutive weights in one block.
        num_gradients: m, number of gradients; by default one per calibration image.
        damp: Dampening, relative to the mean of F's diagonal.
        num_recomputations: N_r, number of equal parts of the way to a sparsity, with the Fisher estimated anew before
            each.
    """

    def __init__(
        self,
        block_size: int = 192,
        num_gradients: int | None = None,
        damp: float = 0.01,
        num_recomputations: int = 1,
    ) -> None:
        super().__init__(block_size, num_gradients, damp, num_recomputations)

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first estimate of one matrix a layer, and of a sweep over the columns."""
        m = size.gradients(self.num_gradients)
        gram, solve = m * self.block_size * size.weights, self.block_size * size.weights
        return FitWork(gradients=size.gradient_macs(m), gram=gram, solve=solve)

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of the scores and of the weights' blocks in double precision."""
        return FitBytes(24 * size.weights, 24 * size.weights)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `w^2 / C_cc^2`."""
        size = self.block_size
        fishers = {n: torch.zeros(size, size, dtype=torch.float64, device=w.device) for n, w in layers.items()}
        present = {name: (weight != 0).flatten() for name, weight in layers.items()}
        count = 0
        for batch in calibration.gradient_batches(model, layers, self.num_gradients, divided=True):
            for name, fisher in fishers.items():
                rows = batch.of(name) * present[name]
                blocks = F.pad(rows, (0, -rows.shape[1] % size)).view(-1, size).double()
                fisher.addmm_(blocks.T, blocks, alpha=2)
            count += batch.count
        distributed.all_reduce_sum(*fishers.values())
        count = distributed.all_reduce_scalar(count)
        scores, self.factors = {}, {}
        for name, weight in calibration.counted(layers.items(), len(layers), "layers"):
            fisher = fishers[name] / count
            with layer_in_errors(name, 0):
                self.factors[name] = upper_factor(fisher[None], self.damp)[0]
            blocks = split_blocks(weight, size).double() * (fisher.diagonal() != 0)  # what has no gradient goes first
            scores[name] = merge_blocks((blocks / self.factors[name].diagonal()).square(), weight)
        return scores

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sweeps over the columns of every layer; weights that are zero already stay so, kept or not."""
        result = {}
        for name, mask in masks.items():
            stays = mask & (self.weights[name] != 0)
            blocks = split_blocks(self.weights[name], self.block_size).to(torch.float64, copy=True)
            obs_column_update(
                blocks, self.factors[name], split_blocks(stays, self.block_size), slice(0, self.block_size)
            )
            result[name] = merge_blocks(blocks, mask).to(self.weights[name].dtype) * stays
        return result
