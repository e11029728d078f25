"""The base class of every pruner, and the pruned weights that it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.fisher.planning import MemoryPlan
from cap.patterns import Pattern, Units, UnitsThen, as_pattern
from cap.selection import select, with_zeros_lowest

Needs = Literal["nothing", "inputs", "gradients"]


@dataclass(frozen=True)
class PrunedWeights:
    """Pruned weights and their masks.

    Attributes:
        weights: Weights, {name: weight}, zero wherever the mask is False.
        masks: Keep-masks, {name: mask}, boolean, True where the weight is kept.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]

    @property
    def sparsity(self) -> float:
        """Fraction of masked weights over all layers."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return 1 - kept / sum(mask.numel() for mask in self.masks.values())

    @torch.no_grad()
    def apply_to(self, model: nn.Module) -> None:
        """Writes the weights into a model of the same architecture."""
        for name, weight in self.weights.items():
            model.get_parameter(name).copy_(weight)


class Pruner(ABC):
    """Base class of pruners, which are fitted once to a dense model and read off at any sparsity.

    A subclass is a class with keyword options that have defaults, and one method, `scores`. If removing weights should
    also move the others it overrides `update` too, and if it does not reach every pattern, `supports`.

    Attributes:
        needs: Part of the calibration that a fit computes: nothing, the layers' inputs, or gradients.
        shares_gram: Whether the Gram matrices of the gradients may come from the pruner that was fitted before.
        prunes_units: Whether the pruner removes whole units too, see `cap.structured.UnitPruner`.
        weights: Copies of the dense weights that `fit` saw, {name: weight}.
        importance: Scores as `scores` returned them, {name: score per weight}.
        monotone: Whether a weight that is removed at one sparsity is removed at every higher one.
        memory_budget: Bytes that `scores` may take beyond what is in use, as given to `fit`; None for what is free.
        refit_seconds: Seconds of the last `prune` that were spent on fitting anew.
    """

    needs: ClassVar[Needs] = "gradients"
    shares_gram: ClassVar[bool] = False
    prunes_units: ClassVar[bool] = False

    weights: dict[str, Tensor]
    importance: dict[str, Tensor]
    monotone: bool = True
    memory_budget: int | None = None
    refit_seconds: float = 0.0

    @abstractmethod
    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Scores every weight; the lowest are removed first.

        Args:
            model: Dense model, to be left as it is.
            layers: Weights to prune, {name: weight}, detached copies (the same as `self.weights`).
            calibration: Only data that may be used.

        Returns:
            {name: scores} in each weight's own shape, comparable across layers.
        """

    def update(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weights that go with the masks; by default the dense ones with zeros."""
        return {name: self.weights[name] * mask for name, mask in masks.items()}

    def supports(self, pattern: Pattern) -> str | None:
        """Returns why the pruner cannot produce a pattern, or None if it can."""
        return None

    def refusal(self, pattern: Pattern) -> str | None:
        """Returns why `prune` would refuse a pattern, or None: what `supports` says, and patterns of units."""
        if isinstance(pattern, UnitsThen):
            return self.refusal(pattern.units) or self.refusal(pattern.then)
        if isinstance(pattern, Units) and not self.prunes_units:
            return f"{type(self).__name__} removes single weights, not heads and channels as {pattern} asks for"
        return self.supports(pattern)

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Returns the keep-masks that follow the pattern and the scores; weights and blocks that are zero go first."""
        return select(with_zeros_lowest(self.importance, self.weights, pattern), pattern)

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern that the pruner supports, in one step from the weights of the fit."""
        masks = self.select(pattern)
        return PrunedWeights(self.update(masks), masks)

    def reach(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern that the pruner supports, by default in one step."""
        return self.weights_at(pattern)

    def predicted_loss(self, pruned: PrunedWeights) -> float | None:
        """Returns by how much pruning raises the calibration loss in the pruner's own model of it, None if it has none.

        Args:
            pruned: Pruned weights that `prune` returned.
        """
        return None

    def plan(
        self,
        model: nn.Module,
        layers: Mapping[str, Tensor],
        calibration: Calibration,
        memory_budget: int | None = None,
    ) -> MemoryPlan | None:
        """Returns how `fit` would go about its work within a memory budget; None if it takes next to none.

        Raises:
            ValueError: If the budget is too small, with what is needed and what to change.
        """
        return None

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of a fit; by default that of one pass over what the pruner needs.

        An option `num_gradients` is taken for the number of gradients in the pass.
        """
        match self.needs:
            case "nothing":
                return FitWork()
            case "inputs":  # a forward pass, and as much again for what is made of the inputs
                return FitWork(inference=2 * size.macs * size.calibration_images)
            case "gradients":
                return FitWork(gradients=size.gradient_macs(getattr(self, "num_gradients", None)))

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of a fit beside the model and its activations; by default next to none."""
        return FitBytes()

    def fit(
        self,
        model: nn.Module,
        layers: Mapping[str, Tensor],
        calibration: Calibration,
        memory_budget: int | None = None,
    ) -> Pruner:
        """Learns all that is needed to prune to any sparsity; the model is left untouched.

        Args:
            model: Dense model.
            layers: Weights to prune, {name: weight}, as `select_layers` returns them.
            calibration: Only data that may be used.
            memory_budget: Bytes that the fit may take beyond what is in use on the model's device; by default what is
                free less a margin. The result does not depend on it.

        Raises:
            ValueError: If there are no layers, or the memory budget is too small.
        """
        if not layers:
            raise ValueError("there are no layers to prune: choose some with cap.select_layers")
        self.memory_budget = memory_budget
        self.weights = {name: weight.detach().clone() for name, weight in layers.items()}
        self.importance = self.scores(model, self.weights, calibration)
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the pruned weights at a pattern; may be called any number of times after one `fit`.

        Args:
            pattern: Pattern; or a number, the sparsity over all layers; or a text that `cap.parse_pattern` reads, like
                `2:4` or `0.75@layer`.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If it is no pattern, or one that the pruner does not support.
        """
        wanted = as_pattern(pattern)
        self.check(wanted)
        return self.reach(wanted)

    def check(self, pattern: Pattern) -> None:
        """Refuses what `prune` cannot do.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If the pruner does not support the pattern.
        """
        if not hasattr(self, "weights"):
            raise RuntimeError("the pruner has not been fitted: call fit(model, layers, calibration) first")
        if reason := self.refusal(pattern):
            raise ValueError(reason)
        if isinstance(pattern, UnitsThen):
            steps = f"prune to {pattern.units}, cut, fit again, prune to {pattern.then}"
            raise ValueError(f"{pattern} is two steps: {steps}")
