"""Magnitude pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.pruner import Needs, ScorePruner
from cap.registry import register


@register("magnitude")
class Magnitude(ScorePruner):
    """Removal of the weights of smallest absolute value (Hagiwara, 1994; Han et al., 2015, arXiv 1506.02626).

    With `Unstructured(s)` all layers are ranked together (GM), with `Unstructured(s, scope="layer")` each alone (UM).
    """

    needs: ClassVar[Needs] = "nothing"

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns |w|; looks at no data."""
        return {name: weight.abs() for name, weight in self.weights.items()}
