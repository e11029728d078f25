"""Composition of pruners: the layer sparsities of one, the mask of another, the weights of a third."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.fisher.planning import MemoryPlan
from cap.patterns import Allocated, Pattern, Unstructured, as_pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner import Pruner, ScorePruner, check_request, dense_copies
from cap.pruners._options import check_count
from cap.registry import available, create, default_options, register

NONE = "none"  # in the place of a pruner's name: the dense weights
Options = dict[str, Any]


@register("compose")
class Compose(Pruner):
    """Allocation, mask and weights, each of a pruner of its own, so that a result can be attributed to one of them.

    A pruner decides three things: how many weights each layer loses, which ones, and what values the others take. CAP
    (Kuznedelev et al., 2023, arXiv 2210.09223) differs from WoodFisher (Singh and Alistarh, 2020, arXiv 2004.14340) in
    all three. Parts that are the same pruner with the same options are fitted once.

    Args:
        mask: Registered name of the pruner that chooses the weights to remove.
        weights: Name of the pruner whose update the others get, for any mask: `woodfisher`, `obert` or `cap` (the joint
            update), `obc` (that of every row), ...; `none` for the dense values, None for what the mask's own pruner
            gives them.
        allocation: Name of the pruner whose mask at the sparsity over all layers says how many weights each layer
            loses; by default the mask's own pruner decides.
        mask_options: Options of the mask's pruner.
        weights_options: Options of the weights' pruner.
        allocation_options: Options of the allocation's pruner.
        block_size: Option `block_size` of all parts that have one and are given none of their own.
        num_gradients: Option `num_gradients` of all parts, likewise.
    """

    shares_gram = True

    def __init__(
        self,
        mask: str = "magnitude",
        weights: str | None = "obert",
        allocation: str | None = None,
        mask_options: Options | None = None,
        weights_options: Options | None = None,
        allocation_options: Options | None = None,
        block_size: int | None = None,
        num_gradients: int | None = None,
    ) -> None:
        check_count("block_size", block_size, optional=True)
        check_count("num_gradients", num_gradients, optional=True)
        shared = {"block_size": block_size, "num_gradients": num_gradients}
        self._parts: dict[str, Pruner] = {}  # by name and options
        self._keys: dict[str, str | None] = {
            "allocation": self._add("allocation", allocation, allocation_options, shared),
            "mask": self._add("mask", mask, mask_options, shared),
            "weights": self._add("weights", None if weights == NONE else weights, weights_options, shared),
        }
        if self._part("mask") is None:
            raise ValueError(f"mask={mask!r} is not valid: it is a pruner's name")
        check_moves_weights(weights, self._part("weights"))
        self._dense_values = weights == NONE
        self.monotone = all(part.monotone for part in self._parts.values())

    def _add(self, role: str, name: str | None, options: Options | None, shared: Options) -> str | None:
        """Makes the pruner of a role unless there is an equal one, and returns its key; None without a name."""
        if name is None:
            if options:
                raise ValueError(f"{role}_options are given, but {role} is no pruner's name")
            return None
        if name == "compose" or name not in available():
            choice = ", ".join(known for known in available() if known != "compose")
            raise ValueError(f"{role}={name!r} is not valid: choose from {choice}")
        if not isinstance(options, dict | None):
            raise ValueError(f"{role}_options={options!r} is not valid: give options by name, such as {{'damp': 1e-5}}")
        known = default_options(name)
        inherited = {key: value for key, value in shared.items() if key in known and value is not None}
        chosen = {**known, **inherited, **(options or {})}
        key = json.dumps([name, chosen], sort_keys=True)
        if key not in self._parts:
            self._parts[key] = create(name, **{**inherited, **(options or {})})
        return key

    def _part(self, role: str) -> Pruner | None:
        """Returns the pruner of a role, None if it has none of its own."""
        key = self._keys[role]
        return None if key is None else self._parts[key]

    @property
    def parts(self) -> tuple[Pruner, ...]:
        """The pruners that are fitted, each once."""
        return tuple(self._parts.values())

    def supports(self, pattern: Pattern) -> str | None:
        """The mask's pruner must reach the pattern; an allocation is one of a sparsity over all layers."""
        mask, allocation = self._part("mask"), self._part("allocation")
        assert mask is not None
        if allocation is None:
            return mask.supports(pattern)
        if not isinstance(pattern, Unstructured) or pattern.scope != "global":
            return f"an allocation is one of a sparsity over all layers, not of {pattern}: leave allocation out"
        return allocation.supports(pattern) or mask.supports(Allocated(pattern.sparsity))

    def plan(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> MemoryPlan | None:
        """Returns the plan of the part that takes most; each may take its share of the memory budget.

        Raises:
            ValueError: If a share is too small, with what is needed and what to change.
        """
        with self._resources(calibration):
            plans = [part.plan(model, layers, calibration) for part in self.parts]
        return max((plan for plan in plans if plan is not None), key=lambda plan: plan.peak_bytes, default=None)

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of all parts."""
        return sum((part.work(size) for part in self.parts), FitWork())

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of a `prune` of all parts."""
        return sum((part.prune_work(size) for part in self.parts), FitWork())

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of all parts together."""
        each = [part.fit_bytes(size) for part in self.parts]
        least, single_pass = (sum(getattr(one, name) for one in each) for name in ("least", "single_pass"))
        rebuilt = any(one.without_factors is not None for one in each)
        return FitBytes(least, single_pass, sum(one.minimum for one in each) if rebuilt else None)

    @contextmanager
    def _resources(self, calibration: Calibration) -> Iterator[None]:
        """Divides the memory budget among the parts, and lets them share what they compute from the gradients."""
        before = calibration.memory_budget, calibration.share
        if calibration.memory_budget is not None:
            calibration.memory_budget //= len(self.parts)
        calibration.share = calibration.share or len(self.parts) > 1
        try:
            yield
        finally:
            calibration.memory_budget, calibration.share = before
            if not calibration.share:
                calibration.forget()

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> Compose:
        """Fits every part to the dense model.

        Raises:
            ValueError: If there are no layers, or the memory budget is too small.
        """
        self.weights = dense_copies(model, layers)
        self.plan(model, layers, calibration)
        with self._resources(calibration):
            for part in self.parts:
                part.fit(model, layers, calibration)
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the pruned weights: counts of the allocation, mask of the next part, weights of the last.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If it is no pattern, or one that a part does not support.
        """
        wanted = as_pattern(pattern)
        check_request(self, wanted)
        allocation, mask, weights = self._part("allocation"), self._part("mask"), self._part("weights")
        assert mask is not None
        if allocation is not None and allocation is not mask:
            wanted = counts_of(allocation.prune(wanted), wanted.sparsity)
        pruned = mask.prune(wanted)
        self.refit_seconds = sum(part.refit_seconds for part in self.parts)
        if self._dense_values:
            return PrunedWeights({name: self.weights[name] * keep for name, keep in pruned.masks.items()}, pruned.masks)
        if weights is None or weights is mask:
            return pruned
        assert isinstance(weights, ScorePruner)
        return PrunedWeights(weights.update(pruned.masks), pruned.masks)

    def predicted_loss(self, pruned: PrunedWeights) -> float | None:
        """Returns the increase as the weights' pruner has it; if it has no model of the loss, that of the mask."""
        parts = (self._part("weights"), self._part("mask"), self._part("allocation"))
        losses = (part.predicted_loss(pruned) for part in parts if part is not None)
        return next((loss for loss in losses if loss is not None), None)

    def state_dict(self) -> Options:
        """Returns the dense weights and the states of all parts."""
        roles = {"keys": dict(self._keys), "dense_values": self._dense_values, "monotone": self.monotone}
        parts = {key: part.state_dict() for key, part in self._parts.items()}
        return {**roles, "weights": dict(self.weights), "parts": parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state that `state_dict` returned, with the parts that it is of."""
        self._keys, self._dense_values, self.monotone = dict(state["keys"]), state["dense_values"], state["monotone"]
        self.weights, self._parts = dict(state["weights"]), {}
        for key, part in state["parts"].items():
            name, options = json.loads(key)
            self._parts[key] = create(name, **options)
            self._parts[key].load_state_dict(part)


def counts_of(pruned: PrunedWeights, sparsity: float) -> Allocated:
    """Returns the pattern that takes from each layer as many weights as a mask does.

    Args:
        pruned: Pruned weights.
        sparsity: Sparsity over all layers that they were pruned to.
    """
    return Allocated(sparsity, tuple((name, int((~keep).sum())) for name, keep in pruned.masks.items()))


def check_moves_weights(name: str | None, part: Pruner | None) -> None:
    """Refuses a pruner that has no update for the mask of another.

    Args:
        name: Name of the pruner, as it was given.
        part: Pruner, None for none.

    Raises:
        ValueError: If it has none.
    """
    if part is None:
        return
    if not isinstance(part, ScorePruner) or type(part).update is ScorePruner.update:
        raise ValueError(f"weights={name!r} is not valid: {name} updates no weights for a mask that is not its own")
    if getattr(part, "num_recomputations", 1) > 1:
        raise ValueError(
            f"weights_options: {name} updates the weights of its fit, so num_recomputations and stages are 1"
        )
