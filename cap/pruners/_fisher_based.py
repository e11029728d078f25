"""The base of the pruners on the block-diagonal empirical Fisher."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.elimination import LARGE, check_positive, compensate, layer_in_errors
from cap.fisher.blocks import block_chunks, merge_blocks, split_blocks
from cap.fisher.dampening import DampScale
from cap.fisher.estimate import fisher_blocks
from cap.fisher.factors import InverseFactor
from cap.fisher.planning import MATRICES, MemoryPlan, fisher_bytes, plan_fit, rebuilding_bytes, retained_bytes
from cap.fisher.reconstruction import Reconstruction, moment_bytes
from cap.fisher.work import joint_update_work
from cap.layers import owner
from cap.patterns import Pattern, Units
from cap.pruned_weights import PrunedWeights
from cap.pruners._options import check_not_negative
from cap.pruners._recomputing import RecomputingPruner
from cap.pruners._schedule import Schedule

RESULT_BYTES = 5  # of a weight and its mask
IN_CACHE = 1536  # weights of a block up to which its systems are solved fastest by one core, in its cache


@dataclass
class Rebuilding:
    """All that a fit without factors needs to make them again, and results that were made ahead.

    Attributes:
        model: Copy of the model that was fitted to.
        calibration: Calibration images.
        plan: Plan of the fit.
        moments: Layer-wise objective that is mixed into the Fisher, if any.
        results: Results at patterns that are expected, with the predicted loss of each.
    """

    model: nn.Module
    calibration: Calibration
    plan: MemoryPlan
    moments: Reconstruction | None = None
    results: dict[Pattern, tuple[PrunedWeights, float]] = field(default_factory=dict)

    def loss_of(self, pruned: PrunedWeights) -> float | None:
        """Returns the predicted loss of a result that was made ahead, None for others."""
        return next((loss for result, loss in self.results.values() if result is pruned), None)


class FisherPruner(RecomputingPruner):
    """Base of pruners that score each Fisher block for itself and keep the factors of its inverse.

    Where the memory budget does not allow that, the factors of a block are made again from the same gradients whenever
    they are asked for: in one more round of passes over the gradients for all sparsities that `expect` names.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; one per calibration image if None.
        damp: Dampening.
        num_recomputations: N_r, number of parts.
        schedule: Sizes of the parts, see `cap.pruners._schedule.sparsities_on_the_way`.
        damp_scale: Unit of the dampening, see `cap.fisher.dampening.Dampening`.
        fresh_gradients: Whether each part takes its gradients from other images than those before it.
        reconstruction: mu, weight of the layer-wise objective, see `cap.fisher.reconstruction.Reconstruction`; 0 for
            the Fisher alone.

    Attributes:
        factors: Factors of the inverse Fisher blocks, {name: factors}; their order alone where they are made again.
        can_rebuild: Whether the pruner can do with factors that are made again, a range of blocks at a time.
    """

    shares_gram = True
    can_rebuild: ClassVar[bool] = True

    factors: dict[str, InverseFactor]
    _rebuilding: Rebuilding | None = None

    def __init__(
        self,
        block_size: int,
        num_gradients: int | None,
        damp: float,
        num_recomputations: int,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
        reconstruction: float = 0.0,
    ) -> None:
        super().__init__(block_size, num_gradients, damp, num_recomputations, schedule, damp_scale, fresh_gradients)
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
            rebuilding_bytes() if self.can_rebuild else None,
            self._moment_bytes(model, layers),
        )

    def _moment_bytes(self, model: nn.Module, layers: Mapping[str, Tensor]) -> int:
        """Returns the memory of the second moments of the layers' inputs; 0 without them."""
        if not self.reconstruction:
            return 0
        return moment_bytes(layers, {name: getattr(owner(model, name), "groups", 1) for name in layers})

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first estimate, with that of the layers' inputs where they are mixed in."""
        inputs = 2 * size.macs * size.calibration_images if self.reconstruction else 0
        return super().work(size) + FitWork(inference=inputs)

    @property
    def updates_jointly(self) -> bool:
        """Whether each `prune`, or part of one, solves for the joint update of its mask; not if it is a by-product."""
        return False

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of the factors, of all blocks of B x B at once, and of a fit that keeps neither."""
        return fisher_bytes(size, self.num_gradients, self.block_size, self.can_rebuild)

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of the other estimates, and of a joint update after each."""
        update = joint_update_work(size, self.block_size) if self.updates_jointly else FitWork()
        return super().prune_work(size) + sum([update] * self.num_recomputations, FitWork())

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Estimates the Fisher and scores block after block; no more than a few inverses exist at a time."""
        plan = self.plan(model, layers, calibration)
        moments = None
        if self.reconstruction:
            moments = Reconstruction.measure(self.reconstruction, model, layers, calibration)
        self._rebuilding = None if plan.keeps_factors else Rebuilding(copy.deepcopy(model), calibration, plan, moments)
        empty = InverseFactor.empty if plan.keeps_factors else InverseFactor.of_order
        self.factors, scores = {}, {}
        for name, part, fisher in fisher_blocks(model, layers, calibration, plan, self.dampening, moments):
            weight = split_blocks(layers[name], self.block_size)
            if name not in self.factors:
                calibration.progress(len(self.factors), len(layers), "layers")
                self.factors[name] = empty(layers[name].numel(), self.block_size, weight.device)
                scores[name] = torch.empty(weight.shape, dtype=torch.float64, device=weight.device)
            kept = self.factors[name]
            factor, place = (kept, part) if plan.keeps_factors else _apart(kept, part)
            with layer_in_errors(name, part.start):
                scores[name][part] = self.solve(weight[part], fisher, factor, place)
            if factor is not kept:
                kept.order[part] = factor.order
        return {name: merge_blocks(scores[name], weight) for name, weight in layers.items()}

    def factor_parts(self) -> Iterator[tuple[str, slice, InverseFactor]]:
        """Yields a layer, a range of its blocks, and the factors of these: kept ones, or made again.

        What was made again is as it was in the fit, and lasts until the next one.
        """
        if self._rebuilding is None:
            yield from ((name, factor.everything, factor) for name, factor in self.factors.items())
            return
        fit = self._rebuilding
        blocks = fisher_blocks(fit.model, self.weights, fit.calibration, fit.plan, self.dampening, fit.moments)
        for name, part, fisher in blocks:
            factor, place = _apart(self.factors[name], part)
            order = self.factors[name].order[part].long()
            factor.fill(place, fisher, split_blocks(self.weights[name], self.block_size)[part], order)
            yield name, part, factor

    @property
    def rebuilds_factors(self) -> bool:
        """Whether the pruner was fitted without keeping factors."""
        return self._rebuilding is not None

    def supports(self, pattern: Pattern) -> str | None:
        """Units are ranked by factors that are there."""
        if isinstance(pattern, Units) and self.rebuilds_factors:
            return f"{pattern} needs the factors of whole layers, which the memory budget does not hold: raise it"
        return super().supports(pattern)

    @abstractmethod
    def updated_blocks(self, weight: Tensor, keep: Tensor, factor: InverseFactor) -> Tensor:
        """Returns the weights of some blocks after the update for a mask.

        Args:
            weight: Dense weights, (blocks, B).
            keep: Keep-mask, (blocks, B).
            factor: Factors of these blocks.

        Returns:
            (blocks, B), any value where the mask is False.
        """

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights that go with the masks."""
        [(weights, _)] = self._updates([masks], with_losses=False)
        return weights

    def _updates(self, wanted: Sequence[dict[str, Tensor]], with_losses: bool) -> list[tuple[dict[str, Tensor], float]]:
        """Returns the weights of every set of masks and their predicted losses, in one round over the factors."""
        results = [{name: torch.empty_like(weight) for name, weight in self.weights.items()} for _ in wanted]
        losses = [0.0] * len(wanted)
        for name, part, factor in self.factor_parts():
            span = slice(part.start * self.block_size, part.stop * self.block_size)
            like = self.weights[name].reshape(-1)[span]
            weight = split_blocks(like, self.block_size)
            for number, masks in enumerate(wanted):
                keep = masks[name].reshape(-1)[span]
                with layer_in_errors(name, part.start):
                    blocks = self.updated_blocks(weight, split_blocks(keep, self.block_size), factor)
                new = merge_blocks(blocks, like).to(like.dtype) * keep
                results[number][name].view(-1)[span] = new
                if with_losses:
                    change = split_blocks(new.double() - like.double(), self.block_size)
                    losses[number] += self._loss_of(change, factor)
        return list(zip(results, losses, strict=True))

    def expect(self, patterns: Sequence[Pattern]) -> None:
        """Makes the results at some patterns in one round over the gradients, where factors are not kept.

        Those that do not fit into the memory budget are left to `prune`, a round each.
        """
        if self._rebuilding is None or self.num_recomputations > 1:
            return
        plan = self._rebuilding.plan
        bytes_each = RESULT_BYTES * sum(weight.numel() for weight in self.weights.values())
        room = 1 + max(0, plan.budget - plan.peak_bytes) // bytes_each
        chosen = [pattern for pattern in dict.fromkeys(patterns) if self.refusal(pattern) is None][:room]
        self._rebuilding.results = self._results_at(chosen)

    def _results_at(self, patterns: Sequence[Pattern]) -> dict[Pattern, tuple[PrunedWeights, float]]:
        """Returns the pruned weights at some patterns with their predicted losses."""
        masks = [self.select(pattern) for pattern in patterns]
        made = self._updates(masks, with_losses=True)
        return {
            pattern: (PrunedWeights(weights, keep), loss)
            for pattern, keep, (weights, loss) in zip(patterns, masks, made, strict=True)
        }

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern, those that were made ahead if there are any."""
        if self._rebuilding is None:
            return super().weights_at(pattern)
        if pattern not in self._rebuilding.results:
            self._rebuilding.results = self._results_at([pattern])
        return self._rebuilding.results[pattern][0]

    def joint_update(self, name: str, keep: Tensor) -> Tensor:
        """Returns a layer's weights after the joint OBS update of every block, for any mask, from kept factors."""
        weight, keep_blocks = split_blocks(self.weights[name], self.block_size), split_blocks(keep, self.block_size)
        with layer_in_errors(name, 0):
            return merge_blocks(jointly_updated(weight, keep_blocks, self.factors[name]), self.weights[name])

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
        known = self._rebuilding.loss_of(pruned) if self._rebuilding is not None else None
        if known is not None:
            return known
        total = 0.0
        for name, part, factor in self.factor_parts():
            change = split_blocks(pruned.weights[name].double() - self.weights[name].double(), self.block_size)
            total += self._loss_of(change[part], factor)
        return total

    @staticmethod
    def _loss_of(change: Tensor, factor: InverseFactor) -> float:
        """Returns `1/2 d^T F d` of some blocks, d their change, (blocks, B), float64."""
        return sum(float(factor.quadratic_form(change[part], part).sum()) / 2 for part in block_chunks(*change.shape))


def jointly_updated(weight: Tensor, keep: Tensor, factor: InverseFactor) -> Tensor:
    """Returns the weights of some blocks after the joint OBS update, for any mask: (blocks, B).

    Args:
        weight: Dense weights, (blocks, B).
        keep: Keep-mask, (blocks, B).
        factor: Factors of these blocks.
    """
    result = torch.empty_like(weight)
    for part in block_chunks(*weight.shape):
        if weight.shape[1] > (IN_CACHE if weight.device.type == "cpu" else LARGE):
            result[part] = compensate(weight[part], factor.inverse(part), keep[part])
            continue
        updated, failed = factor.joint_update(weight[part].double(), keep[part], part)
        check_positive(failed, first=part.start)
        result[part] = updated
    return result


def _apart(factor: InverseFactor, part: slice) -> tuple[InverseFactor, slice]:
    """Returns room for the factors of a range of blocks, and its own range."""
    room = factor.room_for(part)
    return room, room.everything
