"""WoodFisher pruning, as oBERT runs it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.fisher import as_blocks, check_options, estimate_inverse_fishers, from_blocks
from cap.patterns import Blocks, Pattern
from cap.pruner import Pruner, register


@register("woodfisher")
class WoodFisher(Pruner):
    """Optimal Brain Surgeon with one set of saliencies (Singh and Alistarh, 2020, arXiv 2004.14340, eq. 11 and 12).

    The saliency of a weight is the loss increase of removing it alone, `rho_j = w_j^2 / (2 H_jj)` with H the inverse of
    the dampened block Fisher. All chosen weights go together, each with its own update, the interaction among them
    neglected: `w -= H (w_removed / diag(H))`.

    Args:
        block_size: B, consecutive weights in one Fisher block.
        num_gradients: m, gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
    """

    def __init__(self, block_size: int = 192, num_gradients: int | None = None, damp: float = 1e-6) -> None:
        check_options(block_size, num_gradients, damp)
        self.block_size, self.num_gradients, self.damp = block_size, num_gradients, damp

    def supports(self, pattern: Pattern) -> str | None:
        """Blocks of weights would need block saliencies."""
        return "woodfisher scores single weights, not blocks of them" if isinstance(pattern, Blocks) else None

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `w^2 / (2 diag(H))`."""
        self.inverses = estimate_inverse_fishers(
            model, layers, calibration, self.num_gradients, self.block_size, self.damp
        )
        scores = {}
        for name, inverse in self.inverses.items():
            w = as_blocks(self.weights[name], self.block_size).double()
            scores[name] = from_blocks(w**2 / (2 * inverse.diagonal(dim1=1, dim2=2)), self.weights[name])
        return scores

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns `w - H (w_removed / diag(H))`, zero where the mask is."""
        result = {}
        for name, inverse in self.inverses.items():
            w, keep = self.weights[name], masks[name]
            removed = as_blocks(w * ~keep, self.block_size).to(inverse) / inverse.diagonal(dim1=1, dim2=2)
            change = torch.bmm(inverse, removed.unsqueeze(2)).squeeze(2)
            result[name] = (w - from_blocks(change, w).to(w)) * keep
        return result
