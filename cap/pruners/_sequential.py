"""The base of the pruners that solve layer after layer, on the inputs of the model as pruned so far."""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import second_moments, sequential_moment
from cap.cost import FitSize, FitWork
from cap.elimination import layer_in_errors
from cap.patterns import NM, Pattern, Unstructured, as_pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner import check_request, dense_copies
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_flag
from cap.selection import check_groups, layer_counts


class SequentialPruner(LayerwisePruner):
    """Base of pruners that solve each layer for its weights, given the second moments of its inputs.

    A subclass has `prepare`, of the moments, and `solve`, of what `prepare` returned and a pattern.

    Args:
        sequential: Whether a layer's inputs are those of the model with the layers before it pruned; `prune` then goes
            through the model anew for every pattern. Otherwise they are those of the dense model.
    """

    monotone = False

    def __init__(self, sequential: bool) -> None:
        check_flag("sequential", sequential)
        self.sequential = sequential

    @abstractmethod
    def prepare(self, weight: Tensor, moment: Tensor) -> Any:
        """Returns all that `solve` needs of a layer beside its weight.

        Args:
            weight: Weight of the fit.
            moment: Second moments of its inputs, (groups, columns, columns), float64.
        """

    @abstractmethod
    def solve(self, weight: Tensor, prepared: Any, pattern: Pattern, removed: int) -> tuple[Tensor, Tensor]:
        """Returns a layer's pruned weight and its keep-mask; weights that are zero already stay so.

        Args:
            weight: Weight of the fit.
            prepared: Outcome of `prepare`.
            pattern: Pattern to follow.
            removed: Number of weights that the layer loses; 0 for N:M, which tells it itself.
        """

    def solve_work(self, size: FitSize) -> float:
        """Returns the multiply-adds of the solutions of all layers."""
        return size.weights

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments and solutions; of a forward pass if `prune` does it."""
        if self.sequential:
            return FitWork(size.macs * size.calibration_images)
        return FitWork(2 * size.macs * size.calibration_images, solve=self.solve_work(size))

    def prune_work(self, size: FitSize) -> FitWork:
        """Returns the work of the sequence: forward passes up to each layer, moments and solutions."""
        if not self.sequential:
            return FitWork()
        passes = (size.layers + 1) / 2 + 1  # the i-th of n layers is i / n of a pass away; one more for the moments
        return FitWork(passes * size.macs * size.calibration_images, solve=self.solve_work(size))

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> SequentialPruner:
        """Prepares the dense layers; with `sequential` the inputs depend on the pattern, so `prune` does it.

        Raises:
            ValueError: If there are no layers, or the inputs of one are not known.
        """
        self.weights = dense_copies(model, layers)
        if self.sequential:
            for _ in calibration.layer_inputs(model, self.weights, divided=True):
                pass  # layers and images that will not do are refused now
            self._model, self._calibration = copy.deepcopy(model), calibration
        else:
            moments = second_moments(model, self.weights, calibration)
            self.prepared = {name: self._prepared(name, moment) for name, moment in moments.items()}
        return self

    def prune(self, pattern: Pattern | float | str) -> PrunedWeights:
        """Returns the solutions at this pattern.

        Raises:
            RuntimeError: If the pruner has not been fitted.
            ValueError: If it is no pattern, or one that the pruner does not support.
        """
        wanted = as_pattern(pattern)
        check_request(self, wanted)
        if isinstance(wanted, NM):
            for name, weight in self.weights.items():
                check_groups(weight, wanted.of, name)
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        counts = layer_counts(shapes, wanted) if isinstance(wanted, Unstructured) else dict.fromkeys(shapes, 0)
        solved: dict[str, tuple[Tensor, Tensor]] = {}
        self.refit_seconds = 0.0
        for name, prepared in self._sequence(solved) if self.sequential else self.prepared.items():
            solved[name] = self.solve(self.weights[name], prepared, wanted, counts[name])
        masks = {name: solved[name][1] for name in self.weights}
        return PrunedWeights({name: solved[name][0] for name in self.weights}, masks)

    def _sequence(self, solved: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[tuple[str, Any]]:
        """Yields each layer prepared, for its inputs in the model with the layers before it solved.

        Args:
            solved: Weights and masks of these layers; the caller adds each before it asks for the next.
        """
        images = self._calibration
        for layer in images.sequential(self._model, self.weights):
            images.progress(len(solved), len(self.weights), "layers")
            start = time.perf_counter()
            prepared = self._prepared(layer.name, sequential_moment(layer, len(images)))
            self.refit_seconds += time.perf_counter() - start
            yield layer.name, prepared
            layer.replace(solved[layer.name][0])

    def _prepared(self, name: str, moment: Tensor) -> Any:
        """Returns one layer prepared; errors name it."""
        with layer_in_errors(name, 0):
            return self.prepare(self.weights[name], moment)
