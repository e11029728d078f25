"""The base of the pruners on the block-diagonal empirical Fisher."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitSize, FitWork
from cap.elimination import compensate, layer_in_errors
from cap.fisher.blocks import block_chunks, merge_blocks, split_blocks
from cap.fisher.dampening import DampScale
from cap.fisher.estimate import fisher_blocks
from cap.fisher.factors import InverseFactor
from cap.fisher.planning import MATRICES, MemoryPlan, plan_fit, retained_bytes
from cap.fisher.reconstruction import Reconstruction, moment_bytes
from cap.layers import owner
from cap.pruned_weights import PrunedWeights
from cap.pruners._options import check_not_negative
from cap.pruners._recomputing import RecomputingPruner
from cap.pruners._schedule import Schedule


class FisherPruner(RecomputingPruner):
    """Base of pruners that score each Fisher block for itself and keep the factors of its inverse.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; one per calibration image if None.
        damp: Dampening.
        num_recomputations: N_r, number of parts.
        schedule: Sizes of the parts, see `cap.pruners._schedule.sparsities_on_the_way`.
        damp_scale: Unit of the dampening, see `cap.fisher.dampening.Dampening`.
        reconstruction: mu, weight of the layer-wise objective, see `cap.fisher.reconstruction.Reconstruction`; 0 for
            the Fisher alone.

    Attributes:
        factors: Factors of the inverse Fisher blocks, {name: factors}.
    """

    shares_gram = True

    factors: dict[str, InverseFactor]

    def __init__(
        self,
        block_size: int,
        num_gradients: int | None,
        damp: float,
        num_recomputations: int,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        reconstruction: float = 0.0,
    ) -> None:
        super().__init__(block_size, num_gradients, damp, num_recomputations, schedule, damp_scale)
        check_not_negative("reconstruction", reconstruction)
        self.reconstruction = reconstruction

    @abstractmethod
    def solve(self, weight: Tensor, fisher: Tensor, factor: InverseFactor, part: slice) -> Tensor:
        """Scores a range of blocks and fills in their factors.

        Args:
            weight: Weights, (blocks, B).
            fisher: F, (blocks, B, B), float64.
            factor: Factors of the layer.
            part: Range of the layer's blocks.

        Returns:
            (blocks, B), the lowest scores are removed first.
        """

    def plan(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> MemoryPlan:
        """Plans the passes over the calibration gradients.

        Raises:
            ValueError: If the budget is too small, with what is needed and what to change.
        """
        retained = retained_bytes(self.block_size)
        return plan_fit(
            model,
            layers,
            calibration,
            self.num_gradients,
            self.block_size,
            retained,
            MATRICES + bool(self.reconstruction),
            calibration.memory_budget,
            self._moment_bytes(model, layers),
        )

    def _moment_bytes(self, model: nn.Module, layers: Mapping[str, Tensor]) -> int:
        """Returns the memory of the second moments of the layers' inputs; 0 without them."""
        if not self.reconstruction:
            return 0
        return moment_bytes(layers, {name: getattr(owner(model, name), "groups", 1) for name in layers})

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of all estimates, with that of the layers' inputs where they are mixed in."""
        inputs = 2 * size.macs * size.calibration_images * self.num_recomputations if self.reconstruction else 0
        return super().work(size) + FitWork(inference=inputs)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Estimates the Fisher and scores block after block; no more than a few inverses exist at a time."""
        plan = self.plan(model, layers, calibration)
        self.factors, scores = {}, {}
        moments = None
        if self.reconstruction:
            moments = Reconstruction.measure(self.reconstruction, model, layers, calibration)
        for name, part, fisher in fisher_blocks(model, layers, calibration, plan, self.dampening, moments):
            weight = split_blocks(layers[name], self.block_size)
            if name not in self.factors:
                calibration.progress(len(self.factors), len(layers), "layers")
                self.factors[name] = InverseFactor.empty(layers[name].numel(), self.block_size, weight.device)
                scores[name] = torch.empty(weight.shape, dtype=torch.float64, device=weight.device)
            with layer_in_errors(name, part.start):
                scores[name][part] = self.solve(weight[part], fisher, self.factors[name], part)
        return {name: merge_blocks(scores[name], weight) for name, weight in layers.items()}

    def joint_update(self, name: str, keep: Tensor) -> Tensor:
        """Returns a layer's weights after the joint OBS update of every block, for any mask."""
        weight, factor = split_blocks(self.weights[name], self.block_size), self.factors[name]
        keep_blocks = split_blocks(keep, self.block_size)
        result = torch.empty_like(weight)
        for part in block_chunks(*weight.shape):
            with layer_in_errors(name, part.start):
                result[part] = compensate(weight[part], factor.inverse(part), keep_blocks[part])
        return merge_blocks(result, self.weights[name])

    def fisher_times(self, name: str, vector: Tensor) -> Tensor:
        """Returns F v for a layer: v and result are in the shape of its weight, float64."""
        blocks = split_blocks(vector, self.block_size)
        result = torch.empty_like(blocks)
        for part in block_chunks(*blocks.shape):
            result[part] = self.factors[name].fisher_times(blocks[part], part)
        return merge_blocks(result, vector)

    def state_dict(self) -> dict[str, Any]:
        """Returns the pruner's attributes, the factors field by field."""
        fields = {name: vars(factor) for name, factor in self.factors.items()}
        with_factors = copy.copy(self)
        vars(with_factors)["factors"] = fields
        return super(FisherPruner, with_factors).state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned."""
        super().load_state_dict(state)
        self.factors = {name: InverseFactor(**fields) for name, fields in state["factors"].items()}

    def predicted_loss(self, pruned: PrunedWeights) -> float | None:
        """Returns `1/2 d^T F d` with d the change of the weights; None if F was estimated anew on the way."""
        if self.num_recomputations > 1:
            return None
        total = 0.0
        for name, weight in pruned.weights.items():
            change = split_blocks(weight.double() - self.weights[name].double(), self.block_size)
            for part in block_chunks(*change.shape):
                total += float(self.factors[name].quadratic_form(change[part], part).sum()) / 2
        return total
