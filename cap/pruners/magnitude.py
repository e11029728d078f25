"""Magnitude pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.pruner import Needs
from cap.registry import register
from cap.structured.pruning import UnitPruner
from cap.structured.selection import UnitRanking
from cap.structured.units import UnitGroup


@register("magnitude")
class Magnitude(UnitPruner):
    """Removal of the weights of smallest absolute value (Hagiwara, 1994; Han et al., 2015, arXiv 1506.02626).

    With `Unstructured(s)` all layers are ranked together (GM), with `Unstructured(s, scope="layer")` each alone (UM).
    """

    needs: ClassVar[Needs] = "nothing"

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns |w|; looks at no data."""
        return {name: weight.abs() for name, weight in self.weights.items()}

    def rank_units(self, group: UnitGroup) -> UnitRanking:
        """Ranks by the mean square of a unit's weights (Li et al., 2017, arXiv 1608.08710, with squares)."""
        squares = {name: weight.double().square() for name, weight in self.weights.items()}
        return UnitRanking.by(group.sums(squares) / group.size(self.weights))
