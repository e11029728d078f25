"""The base of the pruners that can estimate the Fisher anew on the way to a sparsity."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.fisher.dampening import Dampening, DampScale, check_damp_scale
from cap.fisher.planning import fisher_bytes
from cap.fisher.work import fisher_work
from cap.patterns import NM, Allocated, Pattern, Units, UnitsThen
from cap.pruned_weights import PrunedWeights
from cap.pruner import Needs, ScorePruner
from cap.pruners._options import check_count, check_flag, check_positive
from cap.pruners._schedule import Schedule, check_schedule, sparsities_on_the_way


class RecomputingPruner(ScorePruner):
    """Base of pruners on the Fisher, which may go to a sparsity in several parts, each with a fresh estimate.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: m, number of gradients in the Fisher; one per calibration image if None.
        damp: Dampening.
        num_recomputations: N_r, number of parts. With more than one, `prune` estimates anew for every sparsity, and
            masks at different sparsities are no longer contained in one another.
        schedule: Sizes of the parts, see `cap.pruners._schedule.sparsities_on_the_way`.
        damp_scale: Unit of the dampening, see `cap.fisher.dampening.Dampening`.
        fresh_gradients: Whether each part takes its gradients from other images, see `Calibration.renewed`.
    """

    needs: ClassVar[Needs] = "gradients"
    parts_option: ClassVar[str] = "num_recomputations"  # what a user calls it

    def __init__(
        self,
        block_size: int,
        num_gradients: int | None,
        damp: float,
        num_recomputations: int,
        schedule: Schedule = "linear",
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
    ) -> None:
        check_count("block_size", block_size)
        check_count("num_gradients", num_gradients, optional=True)
        check_positive("damp", damp)
        check_count("num_recomputations", num_recomputations)
        check_schedule(schedule)
        check_damp_scale(damp_scale)
        check_flag("fresh_gradients", fresh_gradients)
        self.block_size, self.num_gradients, self.damp = block_size, num_gradients, damp
        self.num_recomputations, self.schedule, self.damp_scale = num_recomputations, schedule, damp_scale
        self.fresh_gradients = fresh_gradients
        self.monotone = num_recomputations == 1

    @property
    def dampening(self) -> Dampening:
        """Dampening of the Fisher, with its unit."""
        return Dampening(self.damp, self.damp_scale)

    def supports(self, pattern: Pattern) -> str | None:
        """Parts of a sparsity exist, parts of N:M, of units and of given counts do not."""
        if isinstance(pattern, NM | Allocated | Units) and self.num_recomputations > 1:
            return f"{pattern} cannot be reached in parts: set {self.parts_option} to 1, not {self.num_recomputations}"
        return super().supports(pattern)

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first estimate of the Fisher in blocks of B x B."""
        return fisher_work(size, self.num_gradients, self.block_size)

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of the other estimates, which each sparsity is reached by anew."""
        return sum([self.work(size)] * (self.num_recomputations - 1), FitWork())

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of the factors, and of all blocks of B x B at once."""
        return fisher_bytes(size, self.num_gradients, self.block_size)

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> ScorePruner:
        """Fits to the dense model, which is kept together with the calibration set if it is to be fitted again."""
        super().fit(model, layers, calibration)
        if self.num_recomputations > 1:
            self._dense, self._calibration = copy.deepcopy(model), calibration
        return self

    def reach(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern, reached in `num_recomputations` parts."""
        if self.num_recomputations == 1 or isinstance(pattern, NM | Units | UnitsThen):
            return self.weights_at(pattern)
        self.refit_seconds = 0.0
        first, *others = sparsities_on_the_way(pattern.sparsity, self.num_recomputations, self.schedule)
        pruned = self.weights_at(replace(pattern, sparsity=first))
        model = copy.deepcopy(self._dense)
        for part, sparsity in enumerate(others, 1):
            pruned.apply_to(model)
            again = copy.copy(self)
            layers = {name: model.get_parameter(name) for name in self.weights}
            start, seen = time.perf_counter(), self._calibration
            seen = seen.renewed(part, self.num_gradients) if self.fresh_gradients else seen
            ScorePruner.fit(again, model, layers, seen)
            self.refit_seconds += time.perf_counter() - start
            pruned = again.weights_at(replace(pattern, sparsity=sparsity))
        return pruned
