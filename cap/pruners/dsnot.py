"""DSnoT, dynamic sparse no training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, from_columns, input_means
from cap.patterns import NM, Pattern
from cap.pruner import ScorePruner
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_count, check_not_negative
from cap.pruners.wanda import ranks_in_outputs
from cap.registry import register


@register("dsnot")
class DSnoT(LayerwisePruner, ScorePruner):
    """Swaps of weights after Wanda (Zhang et al., 2023, arXiv 2310.08915, Algorithm 1); no weight is changed.

    Without the removed weights R, output i is off by `e_i = sum_(j in R) W_ij E[x_j]` in expectation. As long as
    `|e_i| > threshold`, the removed weight with the largest `sign(e_i) W_ij E[x_j] / Var[x_j]` comes back, and of the
    kept weights with `sign(e_i) W_ij E[x_j] < 0` that of lowest Wanda score `|W_ij| ||x_j||` goes. With N:M the weight
    that goes is the lowest of the same group, of either sign, and a swap that would turn the sign of `e_i` ends it.

    Args:
        cycles: T, largest number of swaps in an output.
        threshold: Expected error of an output, summed over its positions in an image, at which the swaps end.
    """

    monotone = False
    full_moments = False

    def __init__(self, cycles: int = 50, threshold: float = 0.1) -> None:
        check_count("cycles", cycles)
        check_not_negative("threshold", threshold)
        self.cycles, self.threshold = cycles, threshold

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns the rank of each Wanda score in its output."""
        self.effects, self.gains, self.wanda = {}, {}, {}  # (groups, outputs of a group, columns)
        ranks = {}
        for name, (count, total, square) in input_means(model, layers, calibration, _moments).items():
            weight = as_columns(layers[name], len(total)).double()
            variance = (square / count - (total / count) ** 2).clamp(min=torch.finfo(torch.float64).tiny)
            self.effects[name] = weight * total.unsqueeze(1)
            self.gains[name] = self.effects[name] / variance.unsqueeze(1)
            self.wanda[name] = weight.abs() * square.sqrt().unsqueeze(1)
            ranks[name] = from_columns(ranks_in_outputs(self.wanda[name]), layers[name])
        return ranks

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Returns Wanda's keep-masks after the swaps."""
        group = pattern.of if isinstance(pattern, NM) else None
        return {
            name: from_columns(self._swapped(name, as_columns(keep, len(self.wanda[name])), group), keep)
            for name, keep in super().select(pattern).items()
        }

    def _swapped(self, name: str, keep: Tensor, group: int | None) -> Tensor:
        """Returns a keep-mask (groups, outputs of a group, columns) after the swaps within outputs, or N:M groups."""
        keep = keep.clone()
        effect, gain, wanda = self.effects[name], self.gains[name], self.wanda[name]
        error = (effect * ~keep).sum(2, keepdim=True)
        fresh, active = torch.ones_like(keep), torch.ones_like(error, dtype=torch.bool)
        number = torch.arange(keep.shape[2], device=keep.device)
        for _ in range(self.cycles):
            sign = error.sign()
            best, grown = (sign * gain).masked_fill(keep | ~fresh, 0).max(2, keepdim=True)
            if group is None:
                may_go = keep & fresh & (sign * effect < 0)
            else:
                may_go = keep & fresh & (number // group == grown // group)
            least, gone = wanda.masked_fill(~may_go, torch.inf).min(2, keepdim=True)
            after = error - effect.gather(2, grown) + effect.gather(2, gone)
            active &= (error.abs() > self.threshold) & (best > 0) & least.isfinite()
            if group is not None:
                active &= after.sign() == sign
            if not active.any():
                break
            keep.scatter_(2, grown, keep.gather(2, grown) | active)
            keep.scatter_(2, gone, keep.gather(2, gone) & ~active)
            for moved in (grown, gone):  # no weight moves twice
                fresh.scatter_(2, moved, fresh.gather(2, moved) & ~active)
            error = torch.where(active, after, error)
        return keep


def _moments(x: Tensor) -> Tensor:
    """Returns number, sum and sum of squares of inputs (groups, positions, columns): (3, groups, columns)."""
    return torch.stack([torch.ones_like(x).sum(1), x.sum(1), x.square().sum(1)])
