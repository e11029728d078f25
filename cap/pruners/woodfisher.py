"""WoodFisher pruning, as oBERT runs it."""

from __future__ import annotations

from torch import Tensor

from cap.fisher import InverseFactor, as_blocks, check_fisher, from_blocks
from cap.patterns import Blocks, Pattern
from cap.pruner import register
from cap.pruners.fisher_based import FisherPruner


@register("woodfisher")
class WoodFisher(FisherPruner):
    """Optimal Brain Surgeon with one set of saliencies (Singh and Alistarh, 2020, arXiv 2004.14340, eq. 11 and 12).

    The saliency of a weight is the loss increase of removing it alone, `rho_j = w_j^2 / (2 H_jj)` with H the inverse of
    the dampened block Fisher. All chosen weights go together, each with its own update, the interaction among them
    neglected: `w -= H (w_removed / diag(H))`.

    Args:
        block_size: B, consecutive weights in one Fisher block.
        num_gradients: m, gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        joint: Take the interaction into account: the joint OBS update, as CAP's, for WoodFisher's mask.
    """

    def __init__(
        self, block_size: int = 192, num_gradients: int | None = None, damp: float = 1e-6, joint: bool = False
    ) -> None:
        super().__init__(block_size, num_gradients, damp)
        if not isinstance(joint, bool):
            raise ValueError(f"joint={joint!r} is not valid: it is true or false")
        self.joint = joint

    def supports(self, pattern: Pattern) -> str | None:
        """Blocks of weights would need block saliencies."""
        return "woodfisher scores single weights, not blocks of them" if isinstance(pattern, Blocks) else None

    def solve(self, weight: Tensor, fisher: Tensor, factor: InverseFactor, part: slice) -> Tensor:
        """Returns `w^2 / (2 diag(H))`."""
        check_fisher(factor.fill(part, fisher, weight), self.damp)
        return weight.double() ** 2 / (2 * factor.diagonal(part))

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns `w - H (w_removed / diag(H))`, zero where the mask is."""
        if self.joint:
            return {name: self.joint_update(name, keep) for name, keep in masks.items()}
        result = {}
        for name, keep in masks.items():
            weight, factor = self.weights[name], self.factors[name]
            everything = slice(0, len(factor.order))
            removed = as_blocks(weight * ~keep, self.block_size).double()
            change = factor.times(removed / factor.diagonal(everything), everything)
            result[name] = (weight - from_blocks(change, weight).to(weight)) * keep
        return result
