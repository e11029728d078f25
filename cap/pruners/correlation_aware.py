"""CAP, the correlation-aware pruner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitSize, FitWork
from cap.elimination import eliminate, layer_in_errors
from cap.fisher.blocks import block_chunks, check_fisher, merge_blocks, split_blocks
from cap.fisher.dampening import DampScale
from cap.fisher.factors import InverseFactor
from cap.fisher.work import ELIMINATION
from cap.kernels import for_device
from cap.patterns import NM, Blocks, Pattern, Unstructured
from cap.pruners._fisher_based import FisherPruner, jointly_updated
from cap.pruners._schedule import Schedule
from cap.registry import register
from cap.selection import check_groups, select
from cap.structured.obs import rank_by_joint_cost
from cap.structured.pruning import UnitPruner
from cap.structured.selection import UnitRanking
from cap.structured.units import UnitGroup


@register("cap")
class CAP(UnitPruner, FisherPruner):
    """Greedy Optimal Brain Surgeon on a block-diagonal empirical Fisher (Kuznedelev et al., 2023, arXiv 2210.09223).

    In every block weights are removed one at a time, and the saliencies of those left see each removal (Algorithm 1).
    The cumulative losses of all blocks and layers are ranked together; each block loses a prefix of its own order. What
    stays takes the values of the joint OBS update for the set that went.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        num_recomputations: N_r, number of parts of the way to a sparsity, with the Fisher estimated anew before each.
        schedule: Sizes of these parts: `linear` for equal ones, `polynomial` or `geometric` for smaller and smaller
            ones.
        max_sparsity: Largest fraction that a whole block loses; less than 1 saves time where only low sparsities
            are wanted.
        damp_scale: Unit of the dampening: `absolute`; `relative` for the mean of the Fisher's diagonal over all pruned
            weights; `noise` for `tr(F_b) / sqrt(m)` in each block (RobOP).
        fresh_gradients: Whether each part takes its gradients from other calibration images than those before it.
        reconstruction: mu, weight of the layer-wise objective that is mixed into the Fisher (MOONSHOT); 0 for none.
    """

    def __init__(
        self,
        block_size: int = 192,
        num_gradients: int | None = None,
        damp: float = 1e-8,
        num_recomputations: int = 1,
        max_sparsity: float = 1.0,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
        reconstruction: float = 0.0,
    ) -> None:
        super().__init__(
            block_size, num_gradients, damp, num_recomputations, schedule, damp_scale, fresh_gradients, reconstruction
        )
        if not (isinstance(max_sparsity, int | float) and 0 < max_sparsity <= 1):
            raise ValueError(f"max_sparsity={max_sparsity!r} is not valid: it is larger than 0 and at most 1")
        self.max_sparsity = max_sparsity
        self._scratch: Tensor | None = None

    def supports(self, pattern: Pattern) -> str | None:
        """N:M groups must lie within Fisher blocks, which after `fit` is known of every layer; no blocks of weights."""
        if reason := super().supports(pattern):
            return reason
        if isinstance(pattern, Blocks):
            return "cap removes single weights, not blocks of them"
        if isinstance(pattern, NM) and self.block_size % pattern.of:
            return f"cap needs a block size that is a multiple of {pattern.of} for {pattern}, not {self.block_size}"
        if isinstance(pattern, Unstructured) and pattern.sparsity > self.max_sparsity:
            return f"cap was told to stop at max_sparsity={self.max_sparsity}, which is less than {pattern}"
        if isinstance(pattern, Unstructured) and pattern.scope in ("erk", "allocated") and self.max_sparsity < 1:
            return f"cap gives some layers more than {pattern}: set max_sparsity to 1, not {self.max_sparsity}"
        if isinstance(pattern, NM):
            for name, weight in getattr(self, "weights", {}).items():
                span = pattern.of * weight[0, 0].numel()
                if self.block_size % span:
                    return (
                        f"cap needs a block size that is a multiple of {span} for {pattern} in {name} of shape "
                        f"{tuple(weight.shape)}, not {self.block_size}: change it, or leave the layer out"
                    )
        return None

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Estimates the Fisher and removes weights greedily, block after block."""
        try:
            return super().scores(model, layers, calibration)
        finally:
            self._scratch = None

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first estimate, with the elimination."""
        work = super().work(size)
        return replace(work, solve=ELIMINATION * work.solve)

    def solve(self, weight: Tensor, fisher: Tensor, factor: InverseFactor, part: slice) -> Tensor:
        """Returns the cumulative loss at which the greedy loop removes each weight."""
        if self._scratch is None or len(self._scratch) < len(fisher):
            self._scratch = torch.empty_like(fisher)
        inverse = self._scratch[: len(fisher)]
        check_fisher(for_device(inverse.device).invert_blocks(fisher, inverse), self.damp)
        whole = len(weight) - (factor.padding > 0 and part.stop == len(factor.order))
        order, loss = self._eliminate(weight[:whole], inverse[:whole], self.max_sparsity)
        if whole < len(weight):  # its padding goes first, and must not use up the steps
            last_order, last_loss = self._eliminate(weight[whole:], inverse[whole:], 1.0)
            order, loss = torch.cat([order, last_order]), torch.cat([loss, last_loss])
        factor.fill(part, fisher, weight, order.flip(1))  # the first to go at the last place
        return loss

    def _eliminate(self, weight: Tensor, inverse: Tensor, max_sparsity: float) -> tuple[Tensor, Tensor]:
        """Returns the order of removal, followed by what stays, and the losses."""
        order, loss = eliminate(weight, inverse, max_sparsity=max_sparsity)
        stay = loss.isinf().nonzero()[:, 1].view(len(loss), weight.shape[1] - order.shape[1])
        return torch.cat([order, stay], dim=1), loss

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Ranks the losses in the order of removal, so that of equal losses a block's earlier removals go first."""
        if isinstance(pattern, NM):
            return self._keep_nm(pattern)
        positions = {name: self._removal_positions(name) for name in self.weights}
        ranked = {
            name: self.importance[name].flatten()[at].view_as(self.weights[name]) for name, at in positions.items()
        }
        masks = {}
        for name, keep in select(ranked, pattern).items():
            mask = torch.empty_like(keep)
            mask.view(-1)[positions[name]] = keep.flatten()
            masks[name] = mask
        return masks

    def _removal_positions(self, name: str) -> Tensor:
        """Returns the flat position of every weight, block after block in the order of removal."""
        order = self.factors[name].order.flip(1).long()
        starts = torch.arange(len(order), device=order.device).unsqueeze(1) * self.block_size
        flat = (order + starts).flatten()
        return flat[flat < self.weights[name].numel()]  # the padding of the last block drops out

    def _keep_nm(self, pattern: NM) -> dict[str, Tensor]:
        """Runs the greedy loop with closed groups; a convolution's inputs at one kernel position form the groups."""
        for name, weight in self.weights.items():
            check_groups(weight, pattern.of, name)
        split = {name: split_blocks(weight, self.block_size) for name, weight in self.weights.items()}
        keep = {name: torch.empty(w.shape, dtype=torch.bool, device=w.device) for name, w in split.items()}
        for name, at, factor in self.factor_parts():
            side_by_side = self._side_by_side(name, pattern.of)
            for part in block_chunks(at.stop - at.start, self.block_size):
                place = slice(at.start + part.start, at.start + part.stop)
                with layer_in_errors(name, place.start):
                    inverse = factor.inverse(part)[:, side_by_side[:, None], side_by_side]
                    loss = eliminate(split[name][place][:, side_by_side], inverse, pattern).loss
                keep[name][place] = torch.empty_like(keep[name][place]).index_copy_(1, side_by_side, loss.isinf())
        return {name: merge_blocks(keep[name], weight) for name, weight in self.weights.items()}

    def _side_by_side(self, name: str, group: int) -> Tensor:
        """Returns the entries of a block in an order in which each group of N:M is consecutive, (B,)."""
        positions = self.weights[name][0, 0].numel()
        entries = torch.arange(self.block_size, device=self.weights[name].device).view(-1, group, positions)
        return entries.transpose(1, 2).flatten()

    def rank_units(self, group: UnitGroup) -> UnitRanking:
        """Ranks by the joint OBS cost, each removal seen by those after it."""
        names = {part.parameter for part in group.parts}
        inverses = {name: self.factors[name].inverse(self.factors[name].everything) for name in names}
        return rank_by_joint_cost(group, self.weights, inverses, self.block_size)

    def updated_blocks(self, weight: Tensor, keep: Tensor, factor: InverseFactor) -> Tensor:
        """Returns the joint OBS update: read off the factors where the mask removes a prefix of every block's order."""
        counts = removed_prefixes(factor, keep)
        return jointly_updated(weight, keep, factor) if counts is None else factor.without_last(weight, counts)


def removed_prefixes(factor: InverseFactor, keep: Tensor) -> Tensor | None:
    """Returns how many places of each block's order a mask removes, or None if it skips some.

    Args:
        factor: Factors of the blocks.
        keep: Keep-mask, (num_blocks, B); that of the padding may be any.
    """
    order, size = factor.order.long(), keep.shape[1]
    present = torch.ones_like(keep)
    present[-1:, size - factor.padding :] = False
    removed = (~keep & present).gather(1, order).flip(1)
    padding = ~present.gather(1, order).flip(1)
    place = torch.arange(1, size + 1, device=order.device)
    counts = (removed * place).amax(1)
    gone = ((removed | padding) & (place <= counts[:, None])).sum(1)
    return counts if gone.equal(counts) else None
