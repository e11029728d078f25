"""Selection of the units that a pattern removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cap.patterns import Units, UnitsThen
from cap.selection import count_removed
from cap.structured.units import UnitGroup, covered

Removed = dict[str, Tensor]  # {name of a group: its removed units, int64}


@dataclass(frozen=True, eq=False)
class UnitRanking:
    """Order in which the units of one group are removed.

    Attributes:
        order: Units, the first to go first, (units,), int64.
        scores: Score of each in this order, never falling, (units,), float64, comparable across groups.
    """

    order: Tensor
    scores: Tensor

    @classmethod
    def by(cls, scores: Tensor) -> UnitRanking:
        """Returns the ranking by one score per unit, (units,); of equal scores the unit of lower index goes first."""
        order = scores.argsort(stable=True)
        return cls(order, scores[order].double())


def unit_weights(groups: Sequence[UnitGroup], weights: Mapping[str, Tensor]) -> int:
    """Returns the number of weights of the layers that have units: the sparsity of `Units` is a fraction of it."""
    return sum(weights[name].numel() for name in covered(tuple(groups)))


def select_units(
    groups: Sequence[UnitGroup], weights: Mapping[str, Tensor], rankings: Mapping[str, UnitRanking], pattern: Units
) -> Removed:
    """Chooses the units to remove: a prefix of the ranking of all groups together.

    It is the prefix whose weights are nearest in number to those that the pattern asks for, of two equally near ones
    the shorter. The last unit of each group always stays.

    Args:
        groups: Groups of units.
        weights: Weights, {name: weight}.
        rankings: {name of the group: order and scores of its units}.
        pattern: Pattern to follow.

    Raises:
        ValueError: If the units that may go have too few weights.
    """
    ranked = [
        (score, place, at)
        for place, group in enumerate(groups)
        for at, score in enumerate(rankings[group.name].scores[:-1].tolist())
    ]
    ranked.sort()
    target = count_removed(pattern.sparsity, unit_weights(groups, weights))
    tally = _Tally(groups, weights)
    taken, best, distance = [0] * len(groups), [0] * len(groups), target
    for _, place, _ in ranked:
        if tally.removed >= target:
            break
        tally.remove(groups[place])
        taken[place] += 1
        if abs(tally.removed - target) < distance:
            best, distance = list(taken), abs(tally.removed - target)
    if tally.removed < target and best == taken and distance > largest_unit(groups, weights) / 2:
        reached = tally.removed / unit_weights(groups, weights)
        raise ValueError(f"units reach {reached:.4f} at most, one of each group stays: ask for less than {pattern}")
    return {group.name: rankings[group.name].order[:count] for group, count in zip(groups, best, strict=True)}


def largest_unit(groups: Sequence[UnitGroup], weights: Mapping[str, Tensor]) -> int:
    """Returns the number of weights of the largest unit: the removed weights are within half of it of the target."""
    return max(group.size(weights) for group in groups)


class _Tally:
    """Number of weights that removed units have; a weight in a removed row and a removed column counts once."""

    def __init__(self, groups: Sequence[UnitGroup], weights: Mapping[str, Tensor]) -> None:
        self.removed = 0
        self._shapes = {name: list(weights[name].shape[:2]) for name in covered(tuple(groups))}
        self._inner = {name: weights[name][0, 0].numel() for name in self._shapes}

    def remove(self, group: UnitGroup) -> None:
        """Counts one more unit of a group."""
        for part in group.parts:
            shape, width = self._shapes[part.parameter], part.index.shape[1]
            self.removed += width * shape[1 - part.dim] * self._inner[part.parameter]
            shape[part.dim] -= width


def unit_masks(
    groups: Sequence[UnitGroup], weights: Mapping[str, Tensor], removed: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns keep-masks of all weights, {name: mask}, False where a removed unit is."""
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for group in groups:
        for part in group.parts:
            lines = group.lines(part, removed[group.name]).to(masks[part.parameter].device)
            masks[part.parameter].index_fill_(part.dim, lines, False)
    return masks


def unit_violations(groups: Sequence[UnitGroup], weights: Mapping[str, Tensor], pattern: Units | UnitsThen) -> int:
    """Counts by how many weights the units that are wholly zero are too few, or too many, for a pattern.

    Of a pattern in two steps the zeros that are missing are counted, those of units and single ones together.

    Args:
        groups: Groups of units.
        weights: Weights or keep-masks, {name: weight}.
        pattern: Pattern to follow.
    """
    total, slack = unit_weights(groups, weights), largest_unit(groups, weights) // 2
    if isinstance(pattern, UnitsThen):
        gone = count_removed(pattern.units.sparsity, total) - slack
        left = sum(weight.numel() for weight in weights.values()) - gone
        zeros = sum(int((weight == 0).sum()) for weight in weights.values())
        return max(0, gone + count_removed(pattern.then.sparsity, left) - zeros)
    tally = _Tally(groups, weights)
    for group in groups:
        for _ in range(int((group.sums({n: w != 0 for n, w in weights.items()}) == 0).sum())):
            tally.remove(group)
    return max(0, abs(tally.removed - count_removed(pattern.sparsity, total)) - slack)
