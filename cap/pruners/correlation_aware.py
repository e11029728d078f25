"""CAP, the correlation-aware pruner."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.elimination import compensate, eliminate
from cap.fisher import as_blocks, check_options, estimate_inverse_fishers, from_blocks
from cap.patterns import NM, Blocks, Pattern
from cap.pruner import Pruner, register
from cap.selection import select


@register("cap")
class CAP(Pruner):
    """Greedy Optimal Brain Surgeon on a block-diagonal empirical Fisher (Kuznedelev et al., 2023, arXiv 2210.09223).

    In every block weights are removed one at a time, and the saliencies of those left see each removal (Algorithm 1).
    The cumulative losses of all blocks and layers are ranked together; each block loses a prefix of its own order. What
    stays takes the values of the joint OBS update for the set that went.

    Args:
        block_size: B, consecutive weights in one Fisher block.
        num_gradients: m, gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
    """

    def __init__(self, block_size: int = 192, num_gradients: int | None = None, damp: float = 1e-8) -> None:
        check_options(block_size, num_gradients, damp)
        self.block_size, self.num_gradients, self.damp = block_size, num_gradients, damp

    def supports(self, pattern: Pattern) -> str | None:
        """N:M groups must lie within Fisher blocks; blocks of weights would need another greedy loop."""
        if isinstance(pattern, Blocks):
            return "cap removes single weights, not blocks of them"
        if isinstance(pattern, NM) and self.block_size % pattern.of:
            return f"cap needs a block size that is a multiple of {pattern.of} for {pattern}, not {self.block_size}"
        return None

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns the cumulative loss at which the greedy loop removes each weight."""
        self.inverses = estimate_inverse_fishers(
            model, layers, calibration, self.num_gradients, self.block_size, self.damp
        )
        self.orders, losses = {}, {}
        for name, inverse in self.inverses.items():
            weight = self.weights[name]
            self.orders[name], loss = eliminate(as_blocks(weight, self.block_size), inverse)
            losses[name] = from_blocks(loss, weight)
        return losses

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Ranks the losses in the order of removal, so that of equal losses a block's earlier removals go first."""
        if isinstance(pattern, NM):
            return {name: self._keep_nm(name, pattern) for name in self.weights}
        positions = {name: self._removal_positions(name) for name in self.weights}
        ranked = {name: self.importance[name].flatten()[at] for name, at in positions.items()}
        masks = {}
        for name, keep in select(ranked, pattern).items():
            mask = torch.empty_like(keep)
            mask[positions[name]] = keep
            masks[name] = mask.view(self.weights[name].shape)
        return masks

    def _removal_positions(self, name: str) -> Tensor:
        """Returns the flat position of every weight, block after block in the order of removal."""
        order = self.orders[name]
        starts = torch.arange(len(order), device=order.device).unsqueeze(1) * self.block_size
        flat = (order + starts).flatten()
        return flat[flat < self.weights[name].numel()]  # the padding of the last block drops out

    def _keep_nm(self, name: str, pattern: NM) -> Tensor:
        """Runs the greedy loop with closed groups."""
        weight = self.weights[name]
        if weight.shape[1] % pattern.of or weight[0, 0].numel() > 1:
            raise ValueError(
                f"{name} of shape {tuple(weight.shape)} has no groups of {pattern.of} consecutive inputs: leave it out"
            )
        loss = eliminate(as_blocks(weight, self.block_size), self.inverses[name], pattern).loss
        return from_blocks(loss.isinf(), weight)

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the joint OBS update of every block."""
        result = {}
        for name, inverse in self.inverses.items():
            weight, keep = self.weights[name], masks[name]
            blocks = as_blocks(weight, self.block_size)
            result[name] = from_blocks(compensate(blocks, inverse, as_blocks(keep, self.block_size)), weight)
        return result
