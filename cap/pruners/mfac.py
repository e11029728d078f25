"""M-FAC."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.device_memory import fit_budget, gib
from cap.kernels.batched import not_positive
from cap.patterns import Blocks, Pattern
from cap.pruners._recomputing import RecomputingPruner
from cap.pruners._schedule import Schedule
from cap.registry import register


@register("mfac")
class MFAC(RecomputingPruner):
    """Optimal Brain Surgeon with a matrix-free inverse (Frantar, Kurtic and Alistarh, 2021, arXiv 2107.03356).

    Blocks are too large for their B x B matrices; the inverse Fisher is kept as the m gradients that it is made of. By
    the Woodbury identity `F^-1 = (I - V^T V) / damp` with `V = L^-1 G` and `L L^T = m damp I + G G^T`, which gives its
    diagonal and its product with any vector in O(m B). Scores and update are WoodFisher's.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        num_recomputations: N_r, number of parts of the way to a sparsity, with the Fisher estimated anew before each.
        schedule: Sizes of these parts: `linear` for equal ones, `polynomial` or `geometric` for smaller and smaller
            ones.
    """

    def __init__(
        self,
        block_size: int = 2048,
        num_gradients: int | None = None,
        damp: float = 1e-6,
        num_recomputations: int = 1,
        schedule: Schedule = "linear",
    ) -> None:
        super().__init__(block_size, num_gradients, damp, num_recomputations, schedule)

    def supports(self, pattern: Pattern) -> str | None:
        """Blocks of weights would need block saliencies."""
        if isinstance(pattern, Blocks):
            return "mfac scores single weights, not blocks of them"
        return super().supports(pattern)

    def plan(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> None:
        """Checks that the gradients, all of which are kept, fit into the memory budget.

        Raises:
            ValueError: If they do not, with what is needed and what to change.
        """
        device = next(iter(layers.values())).device
        budget = fit_budget(device) if calibration.memory_budget is None else calibration.memory_budget
        m, weights = calibration.count(self.num_gradients), [weight.numel() for weight in layers.values()]
        needed = 4 * m * (sum(weights) + max(weights)) + 24 * m * self.block_size + 16 * m**2
        if needed > budget:
            raise ValueError(
                f"a memory budget of {gib(budget)} is too small, {gib(needed)} are needed: mfac keeps {m:,} gradients "
                f"of {sum(weights):,} weights. Raise the memory budget, or lower num_gradients"
            )

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of all estimates: the gradients, and the products of each with all others."""
        m, times = size.gradients(self.num_gradients), self.num_recomputations
        return FitWork(gradients=size.gradient_macs(m) * times, gram=m**2 * size.weights * times)

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of all gradients, which are kept."""
        kept = 4 * size.gradients(self.num_gradients) * size.weights
        return FitBytes(kept, kept)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `w^2 / (2 diag(F^-1))`."""
        self.plan(model, layers, calibration)
        m = calibration.count(self.num_gradients)
        rows = {n: torch.zeros(m, w.numel(), device=w.device) for n, w in layers.items()}
        for batch in calibration.gradient_batches(model, layers, m, divided=True):
            for name, room in rows.items():
                batch.write(name, 0, room.shape[1], room[batch.first : batch.first + batch.count])
        distributed.all_reduce_sum(*rows.values())
        scores = {}
        self.factors: dict[str, list[Tensor]] = {}
        self.diagonals = {}
        for name, weight in layers.items():
            gradients = rows.pop(name).mul_(weight.flatten() != 0)
            self.factors[name], diagonals = [], []
            for number, block in enumerate(gradients.split(self.block_size, dim=1)):
                g = block.double()
                system = g @ g.T
                system.diagonal().add_(m * self.damp)
                lower, info = torch.linalg.cholesky_ex(system)
                if not_positive(lower[None], info[None]).any():
                    raise ValueError(
                        f"{name}: Fisher block {number} is not positive definite: raise damp={self.damp:g}"
                    )
                half = torch.linalg.solve_triangular(lower, g, upper=False)
                diagonals.append((1 - half.square().sum(0)) / self.damp)
                self.factors[name].append(half.float())
            diagonal = torch.cat(diagonals)
            self.diagonals[name] = diagonal
            scores[name] = (weight.flatten().double() ** 2 / (2 * diagonal)).view_as(weight)
        return scores

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns `w - F^-1 (w_removed / diag(F^-1))`, zero where the mask is."""
        result = {}
        for name, mask in masks.items():
            weight = self.weights[name]
            scaled = ((weight * ~mask).flatten().double() / self.diagonals[name]).split(self.block_size)
            change = [
                (x - half.T.double() @ (half.double() @ x)) / self.damp
                for x, half in zip(scaled, self.factors[name], strict=True)
            ]
            result[name] = (weight - torch.cat(change).view_as(weight).to(weight.dtype)) * mask
        return result
