"""WoodFisher pruning, as oBERT runs it."""

from __future__ import annotations

import torch
from torch import Tensor

from cap.elimination import check_positive, layer_in_errors
from cap.fisher.blocks import block_chunks, check_fisher, merge_blocks, split_blocks
from cap.fisher.dampening import DampScale
from cap.fisher.factors import InverseFactor
from cap.kernels.batched import not_positive
from cap.patterns import Blocks, Pattern
from cap.pruned_weights import PrunedWeights
from cap.pruners._fisher_based import FisherPruner, jointly_updated
from cap.pruners._options import check_flag
from cap.pruners._schedule import Schedule
from cap.registry import register
from cap.selection import check_blocks, keep_ranked_blocks, zero_blocks


@register("woodfisher")
class WoodFisher(FisherPruner):
    """Optimal Brain Surgeon with one set of saliencies (Singh and Alistarh, 2020, arXiv 2004.14340, eq. 11 and 12).

    The saliency of a weight is the loss increase of removing it alone, `rho_j = w_j^2 / (2 H_jj)` with H the inverse of
    the dampened block Fisher. All chosen weights go together, each with its own update, the interaction among them
    neglected: `w -= H (w_removed / diag(H))`. With B = 1 the Fisher is its diagonal (WF-1).

    Blocks of weights are scored by `w_g^T (H_gg)^-1 w_g / 2` and go with the update of each block for itself, as in the
    4-block variant of oBERT (Kurtic et al., 2022, arXiv 2203.07259, eq. 6 and 7).

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        num_recomputations: N_r, number of parts of the way to a sparsity, with the Fisher estimated anew before each.
        schedule: Sizes of these parts: `linear` for equal ones, `polynomial` or `geometric` for smaller and smaller
            ones.
        joint: Whether the interaction is taken into account: the joint OBS update, as CAP's, for WoodFisher's mask.
        damp_scale: Unit of the dampening: `absolute`; `relative` for the mean of the Fisher's diagonal over all pruned
            weights; `noise` for `tr(F_b) / sqrt(m)` in each block (RobOP).
        fresh_gradients: Whether each part takes its gradients from other calibration images than those before it.
        reconstruction: mu, weight of the layer-wise objective that is mixed into the Fisher (MOONSHOT); 0 for none.
    """

    def __init__(
        self,
        block_size: int = 192,
        num_gradients: int | None = None,
        damp: float = 1e-6,
        num_recomputations: int = 1,
        joint: bool = False,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
        reconstruction: float = 0.0,
    ) -> None:
        super().__init__(
            block_size, num_gradients, damp, num_recomputations, schedule, damp_scale, fresh_gradients, reconstruction
        )
        check_flag("joint", joint)
        self.joint = joint

    def supports(self, pattern: Pattern) -> str | None:
        """Blocks of weights must lie within Fisher blocks."""
        if isinstance(pattern, Blocks) and self.block_size % pattern.size:
            return (
                f"{type(self).__name__.lower()} needs a block size that is a multiple of {pattern.size} for {pattern}, "
                f"not {self.block_size}"
            )
        if isinstance(pattern, Blocks) and self.rebuilds_factors:
            return f"{pattern} needs the factors of whole layers, which the memory budget does not hold: raise it"
        return super().supports(pattern)

    @property
    def updates_jointly(self) -> bool:
        """Whether the interaction is taken into account."""
        return self.joint

    def solve(self, weight: Tensor, fisher: Tensor, factor: InverseFactor, part: slice) -> Tensor:
        """Returns `w^2 / (2 diag(H))`."""
        check_fisher(factor.fill(part, fisher, weight), self.damp)
        return weight.double() ** 2 / (2 * factor.diagonal(part))

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights; blocks of weights are scored and updated as such."""
        if not isinstance(pattern, Blocks):
            return super().weights_at(pattern)
        check_blocks(self.weights, pattern.size)
        scores = {}
        for name, weight in self.weights.items():
            products = merge_blocks(split_blocks(weight, self.block_size) * self._solutions(name, pattern.size), weight)
            saliencies = products.reshape(-1, pattern.size).sum(1) / 2
            scores[name] = saliencies.masked_fill(zero_blocks(weight, pattern.size), -torch.inf)  # they go first
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        masks = keep_ranked_blocks(scores, shapes, pattern)
        return PrunedWeights(self._update_blocks_of_weights(masks, pattern.size), masks)

    def updated_blocks(self, weight: Tensor, keep: Tensor, factor: InverseFactor) -> Tensor:
        """Returns `w - H z`, z the solutions of what is removed; or the joint OBS update."""
        if self.joint:
            return jointly_updated(weight, keep, factor)
        removed = weight.double() / factor.diagonal(factor.everything) * ~keep
        return weight - factor.times(removed, factor.everything).to(weight)

    def _update_blocks_of_weights(self, masks: dict[str, Tensor], size: int) -> dict[str, Tensor]:
        """Returns the update of blocks of `size` consecutive weights, each of which goes as one."""
        if self.joint:
            return {name: self.joint_update(name, keep) for name, keep in masks.items()}
        result = {}
        for name, keep in masks.items():
            weight, factor = self.weights[name], self.factors[name]
            removed = self._solutions(name, size) * split_blocks(~keep, self.block_size)
            change = factor.times(removed, factor.everything)
            result[name] = (weight - merge_blocks(change, weight).to(weight)) * keep
        return result

    def _solutions(self, name: str, size: int) -> Tensor:
        """Returns `(H_gg)^-1 w_g` for each group g of `size` consecutive weights: (num_blocks, B), float64."""
        blocks, factor = split_blocks(self.weights[name], self.block_size).double(), self.factors[name]
        result = torch.empty_like(blocks)
        groups = torch.arange(self.block_size // size, device=blocks.device)
        for part in block_chunks(*blocks.shape):
            shape = (-1, len(groups), size, len(groups), size)
            own = factor.inverse(part).view(shape)[:, groups, :, groups]  # (groups, blocks, size, size)
            w = blocks[part].view(-1, len(groups), size).transpose(0, 1).unsqueeze(3)
            with layer_in_errors(name, part.start):
                lower, info = torch.linalg.cholesky_ex(own)
                check_positive(not_positive(lower.flatten(0, 1), info.flatten()).view(info.shape).any(0))
            result[part] = torch.cholesky_solve(w, lower).squeeze(3).transpose(0, 1).flatten(1)
        return result
