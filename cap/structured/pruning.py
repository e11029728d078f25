"""The part of a pruner that removes units."""

from __future__ import annotations

from abc import abstractmethod

from cap.patterns import Pattern, Units
from cap.pruner import PrunedWeights, Pruner
from cap.structured.selection import UnitRanking, select_units, unit_masks
from cap.structured.units import UnitGroup


class UnitPruner(Pruner):
    """Base of pruners that also rank units.

    Attributes:
        units: Groups of units, as `cap.structured.find_units` returns them; to be set before `fit`.
    """

    prunes_units = True

    units: tuple[UnitGroup, ...] = ()

    @abstractmethod
    def rank_units(self, group: UnitGroup) -> UnitRanking:
        """Returns the order in which the units of a group go, after `fit`."""

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern; units are ranked over all groups.

        Raises:
            ValueError: If there are no units.
        """
        if not isinstance(pattern, Units):
            return super().weights_at(pattern)
        if not self.units:
            raise ValueError(f"{pattern} needs units: set pruner.units = cap.structured.find_units(...) before fit")
        rankings = {group.name: self.rank_units(group) for group in self.units}
        masks = unit_masks(self.units, self.weights, select_units(self.units, self.weights, rankings, pattern))
        return PrunedWeights(self.update(masks), masks)
