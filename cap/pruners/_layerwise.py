"""The base of the pruners that look at one layer's inputs at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from cap.cost import FitSize, FitWork
from cap.patterns import Blocks, Pattern, Unstructured
from cap.pruner import Needs, Pruner


class LayerwisePruner(Pruner):
    """Base of pruners that keep each layer's outputs on the calibration images; they say nothing across layers.

    Attributes:
        full_moments: Whether a fit holds second moments of a layer's inputs as matrices, not their diagonal alone.
    """

    needs: ClassVar[Needs] = "inputs"
    full_moments: ClassVar[bool] = True

    def supports(self, pattern: Pattern) -> str | None:
        """Layers are pruned one by one, each to a sparsity of its own."""
        name = type(self).__name__
        if isinstance(pattern, Unstructured) and pattern.scope == "global":
            return f"{name} has no scores that compare layers: ask for {pattern.sparsity}@layer"
        if isinstance(pattern, Blocks):
            return f"{name} removes single weights, not blocks of them"
        return None

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments of the inputs, and of one solution a weight."""
        return replace(super().work(size), solve=size.weights)
