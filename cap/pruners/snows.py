"""SNOWS, a refit of the weights that any pruner leaves."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitBytes, FitSize, FitWork
from cap.layers import owner
from cap.model_state import full_precision
from cap.operations import operations
from cap.patterns import Pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner import Pruner, check_fitted, dense_copies
from cap.pruners._options import check_choice, check_count
from cap.pruners._refit import Refit
from cap.registry import available, create, register

HELD_OUT = 5  # one image of so many tells how long a step is


@register("snows")
class Snows(Pruner):
    """Refit of the kept weights on the next K operations (Lucas and Mazumder, 2024, arXiv 2411.18376).

    Layer after layer, in the order of the forward pass and with the mask held, the weights w minimise
    `f(w) = sum_k mean (Y_k(w) - Y_k)^2` over the outputs of the K operations from the layer on, Y_k those of the dense
    model. An operation is a module that computes something; a product between modules, as in attention, belongs to
    the next one. A Newton step d solves `(J^T J + 1e-4) d = -grad f` by conjugate gradients with exact products, J
    that of the scaled outputs (Gauss-Newton); held-out images tell how much of it is taken.

    Args:
        first: Name of the pruner that masks and weights come from first.
        first_options: Options of that pruner; those not given, and all with None, take its defaults.
        operations: K, number of operations; 1 for the layer alone.
        passes: Largest number of Newton steps a layer.
        cg_steps: Largest number of steps of the conjugate gradients.
        images: Number of calibration images; a fifth of them are held out.
    """

    def __init__(
        self,
        first: str = "cap",
        first_options: dict[str, Any] | None = None,
        operations: int = 3,
        passes: int = 3,
        cg_steps: int = 30,
        images: int = 512,
    ) -> None:
        check_choice("first", first, tuple(available()))
        if not isinstance(first_options, dict | None):
            raise ValueError(f"first_options={first_options!r} is not valid: it is a dictionary of options of {first}")
        for name, value in (("operations", operations), ("passes", passes), ("cg_steps", cg_steps), ("images", images)):
            check_count(name, value)
        self.first = create(first, **(first_options or {}))
        self.operations, self.passes, self.cg_steps, self.images = operations, passes, cg_steps, images

    def supports(self, pattern: Pattern) -> str | None:
        """What the first pruner supports."""
        return self.first.supports(pattern)

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the first pruner's fit."""
        return self.first.work(size)

    def fit_bytes(self, size: FitSize) -> FitBytes:
        """Returns the memory of the first pruner's fit."""
        return self.first.fit_bytes(size)

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of all layers: products with J and J^T on K operations, half of them with weights."""
        images = min(self.images, size.calibration_images)
        once = (size.layers + 1) / 2 + 3 * self.operations * self.cg_steps  # forward passes up to the layer, products
        return self.first.prune_work(size) + FitWork(gradients=images * size.macs * self.passes * once)

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> Snows:
        """Fits the first pruner.

        Raises:
            ValueError: If there are no layers, a layer's module is not called as such by the forward pass, or there are
                fewer than two images.
        """
        self.weights = dense_copies(model, layers)
        if min(self.images, len(calibration)) < 2:
            raise ValueError("SNOWS needs at least two calibration images: one of them is held out")
        self.first.fit(model, layers, calibration)
        self._dense, self._calibration = copy.deepcopy(model), calibration
        self._images = calibration.inputs[: self.images].to(next(iter(self.weights.values())).device)
        self._order = operations(self._dense, self.weights, self._images[:1])
        names = {module: name for name, module in self._dense.named_modules()}
        modules = {weight: names[owner(self._dense, weight)] for weight in self.weights}
        if unseen := [weight for weight, module in modules.items() if module not in self._order]:
            raise ValueError(
                f"the forward pass does not call the module of {', '.join(unseen)} for the output that SNOWS compares: "
                "leave it out of the layers to prune"
            )
        self._places = {weight: self._order.index(module) for weight, module in modules.items()}
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the first pruner's masks with the weights refitted; weights that are zero already stay so."""
        check_fitted(self)
        pruned = self.first.prune(pattern)
        start = time.perf_counter()
        weights = self._refitted(pruned) if pruned.sparsity else pruned.weights
        self.refit_seconds = self.first.refit_seconds + time.perf_counter() - start
        return PrunedWeights(weights, pruned.masks)

    @full_precision()
    def _refitted(self, pruned: PrunedWeights) -> dict[str, Tensor]:
        """Returns the weights, of each layer those for the model with the layers before it refitted."""
        sparse = copy.deepcopy(self._dense)
        pruned.apply_to(sparse)
        held_out = max(1, len(self._images) // HELD_OUT)
        parts = self._images[held_out:], self._images[:held_out]
        for done, name in enumerate(sorted(self.weights, key=self._places.__getitem__)):
            self._calibration.progress(done, len(self.weights), "layers")
            compared = self._order[self._places[name] :][: self.operations]
            refit = Refit(self._dense, sparse, name, compared, *parts)
            refit.run(pruned.masks[name] & (self.weights[name] != 0), self.passes, self.cg_steps)
        return {name: sparse.get_parameter(name).detach().clone() for name in self.weights}
