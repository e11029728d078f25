"""The part of a pruner that removes units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from cap.calibration import Calibration
from cap.patterns import Pattern, Units
from cap.pruned_weights import PrunedWeights
from cap.pruner import ScorePruner
from cap.structured.selection import UnitRanking, select_units, unit_masks
from cap.structured.units import UnitGroup


class UnitPruner(ScorePruner):
    """Base of pruners that also rank units.

    Attributes:
        units: Groups of units, as `cap.structured.find_units` returns them; to be set before `fit`.
        rankings: Order of removal in each group, {name of the group: ranking}, from `fit`.
    """

    prunes_units = True

    units: tuple[UnitGroup, ...] = ()
    rankings: dict[str, UnitRanking]

    @abstractmethod
    def rank_units(self, group: UnitGroup) -> UnitRanking:
        """Returns the order in which the units of a group go; called when all weights have their scores."""

    def fit(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> ScorePruner:
        """Learns all that is needed to prune to any sparsity, of units too if there are any."""
        super().fit(model, layers, calibration)
        self.rankings = {group.name: self.rank_units(group) for group in self.units}
        return self

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern; units are ranked over all groups.

        Raises:
            ValueError: If there are no units.
        """
        if not isinstance(pattern, Units):
            return super().weights_at(pattern)
        if not self.units:
            raise ValueError(f"{pattern} needs units: set pruner.units = cap.structured.find_units(...) before fit")
        removed = select_units(self.units, self.weights, self.rankings, pattern)
        masks = unit_masks(self.units, self.weights, removed)
        return PrunedWeights(self.update(masks), masks)
