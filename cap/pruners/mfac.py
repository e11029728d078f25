"""M-FAC."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cap import distributed
from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.device_memory import fit_budget, gib
from cap.fisher.dampening import DampScale
from cap.fisher.layout import BlockLayout
from cap.fisher.low_rank import LowRankInverse, invert_low_rank, scratch_bytes
from cap.fisher.planning import ACTIVATION_BYTES, activation_bytes
from cap.patterns import Blocks, Pattern
from cap.pruners._options import check_flag
from cap.pruners._recomputing import RecomputingPruner
from cap.pruners._schedule import Schedule
from cap.registry import register


@register("mfac")
class MFAC(RecomputingPruner):
    """Optimal Brain Surgeon with a matrix-free inverse (Frantar, Kurtic and Alistarh, 2021, arXiv 2107.03356).

    Blocks are too large for their B x B matrices; the inverse Fisher is kept as the m gradients that it is made of, or
    as a triangle where there are at least B of them (see `cap.fisher.low_rank`). Scores and update are WoodFisher's. As
    in the authors' code, weights that are zero are left out before blocks are cut.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; by default one per calibration image.
        damp: Dampening.
        num_recomputations: N_r, number of parts of the way to a sparsity, with the Fisher estimated anew before each.
        schedule: Sizes of these parts: `linear` for equal ones, `polynomial` or `geometric` for smaller and smaller
            ones.
        span_layers: Whether blocks go on from one layer to the next, as in the authors' code, or end with the layer.
        damp_scale: Unit of the dampening: `absolute`; `relative` for the mean of the Fisher's diagonal over all pruned
            weights; `noise` for `tr(F_b) / sqrt(m)` in each block (RobOP).
        fresh_gradients: Whether each part takes its gradients from other calibration images than those before it.
    """

    def __init__(
        self,
        block_size: int = 2048,
        num_gradients: int | None = None,
        damp: float = 1e-6,
        num_recomputations: int = 1,
        span_layers: bool = True,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
    ) -> None:
        super().__init__(block_size, num_gradients, damp, num_recomputations, schedule, damp_scale, fresh_gradients)
        check_flag("span_layers", span_layers)
        self.span_layers = span_layers

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
        needed = self.needed_bytes(model, layers, calibration)
        if needed > budget:
            m, weights = calibration.count(self.num_gradients), sum(weight.numel() for weight in layers.values())
            raise ValueError(
                f"a memory budget of {gib(budget)} is too small, {gib(needed)} are needed: mfac keeps {m:,} gradients "
                f"of {weights:,} weights. Raise the memory budget, or lower num_gradients"
            )

    def needed_bytes(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> int:
        """Returns the most memory that a fit takes: gradients, scores, and a batch or the block that is inverted."""
        m, sizes = calibration.count(self.num_gradients), [weight.numel() for weight in layers.values()]
        per_image = activation_bytes(model, layers, calibration)
        images = _images(calibration, per_image)
        made = min(m, images if calibration.gradient == "sample" else 1)  # gradients at a time, twice: some are chosen
        batch = images * per_image + 2 * 4 * made * max(sizes)
        whole = sum(sizes) if self.span_layers else max(sizes)
        return (4 * m + 32) * sum(sizes) + max(batch, scratch_bytes(m, min(self.block_size, whole)))

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first estimate: the gradients, and each block's inverse in the smaller dimension."""
        m = size.gradients(self.num_gradients)
        block = min(self.block_size, size.weights)
        gram = 2 * m * min(m, block) * size.weights  # products or rotations, and the solutions
        return FitWork(gradients=size.gradient_macs(m), gram=gram)

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of all gradients, which are kept, and of the block that is inverted."""
        m = size.gradients(self.num_gradients)
        kept = (4 * m + 32) * size.weights + scratch_bytes(m, min(self.block_size, size.weights))
        return FitBytes(kept, kept)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `w^2 / (2 diag(F^-1))`."""
        self.plan(model, layers, calibration)
        m = calibration.count(self.num_gradients)
        images = None
        if calibration.gradient == "sample":
            images = _images(calibration, activation_bytes(model, layers, calibration))
        device = next(iter(layers.values())).device
        self.layout = BlockLayout(layers, self.block_size, self.span_layers)
        rows = [torch.zeros(m, size, device=device) for size in self.layout.sizes]
        for batch in calibration.gradient_batches(model, layers, m, images, divided=True):
            for name in layers:
                self.layout.write(name, batch.of(name), rows, slice(batch.first, batch.first + batch.count))
            del batch  # before the next one is computed
        distributed.all_reduce_sum(*rows)
        squares = sum(float(torch.linalg.vector_norm(row, dtype=torch.float64)) ** 2 for row in rows)
        self.mean_square = squares / (m * max(1, sum(self.layout.sizes)))
        self.inverses: list[LowRankInverse | Tensor] = []  # gradients where single precision would not do
        self.diagonals: list[Tensor] = []
        while rows:
            gradients = rows.pop(0)
            inverse = self._inverse(len(self.inverses), gradients)
            self.diagonals.append(inverse.diagonal())
            self.inverses.append(inverse.single() or gradients)
            del inverse  # before the next one is computed
            calibration.progress(len(self.inverses), len(self.layout.sizes), "Fisher blocks")
        halves = [w.square() / (2 * d) for w, d in zip(self.layout.split(layers), self.diagonals, strict=True)]
        return self.layout.merge(halves, layers, fill=0.0)

    def _damp_of(self, gradients: Tensor) -> float:
        """Returns the absolute dampening of the block of these gradients, (m, B)."""
        match self.damp_scale:
            case "absolute":
                return self.damp
            case "relative":
                return self.dampening.of_model(self.mean_square)
            case "noise":
                m, norm = len(gradients), float(torch.linalg.vector_norm(gradients, dtype=torch.float64))
                return self.dampening.of_block(norm**2 / m, m)

    def _inverse(self, block: int, gradients: Tensor) -> LowRankInverse:
        inverse = invert_low_rank(gradients, self._damp_of(gradients))
        if inverse is None:
            names, largest = self.layout.layers_of(block), float(gradients.abs().amax())
            where = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            raise ValueError(
                f"{where}: Fisher block {block} cannot be inverted, its gradients of up to {largest:.1e} are too large "
                f"beside the dampening: raise damp={self.damp:g}, or check the scale of the loss"
            )
        return inverse

    def state_dict(self) -> dict[str, Any]:
        """Returns the pruner's attributes, the inverses field by field, without the layout, which follows from them."""
        plain = copy.copy(self)
        plain.__dict__["inverses"] = [vars(one) if isinstance(one, LowRankInverse) else one for one in self.inverses]
        del plain.__dict__["layout"]
        return super(MFAC, plain).state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned."""
        super().load_state_dict(state)
        self.layout = BlockLayout(self.weights, self.block_size, self.span_layers)
        self.inverses = [LowRankInverse(**one) if isinstance(one, dict) else one for one in state["inverses"]]

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns `w - F^-1 (w_removed / diag(F^-1))`, zero where the mask is."""
        removed = self.layout.split({name: self.weights[name] * ~mask for name, mask in masks.items()})
        changes = []
        for block, (kept, w, diagonal) in enumerate(zip(self.inverses, removed, self.diagonals, strict=True)):
            inverse = self._inverse(block, kept) if isinstance(kept, Tensor) else kept
            changes.append(inverse.times(w / diagonal))
        change = self.layout.merge(changes, masks, fill=0.0)
        return {name: (weight - change[name].to(weight.dtype)) * masks[name] for name, weight in self.weights.items()}


def _images(calibration: Calibration, per_image: int) -> int:
    """Returns how many images go through the model at a time."""
    if calibration.gradient == "batch":
        return calibration.batch_size
    return max(1, min(calibration.batch_size, ACTIVATION_BYTES // max(1, per_image)))
