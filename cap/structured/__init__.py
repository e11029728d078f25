"""Structured pruning: whole heads, hidden units and channels, and the smaller model that is left without them."""

from cap.structured.cutting import cut, removed_units
from cap.structured.finding import find_units
from cap.structured.pruning import UnitPruner
from cap.structured.selection import UnitRanking, unit_violations, unit_weights
from cap.structured.units import UnitGroup, UnitPart

__all__ = [
    "UnitGroup",
    "UnitPart",
    "UnitPruner",
    "UnitRanking",
    "cut",
    "find_units",
    "removed_units",
    "unit_violations",
    "unit_weights",
]
