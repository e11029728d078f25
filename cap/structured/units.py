"""Units of a model: which rows and columns of which weights stay or go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["head", "channel"]


@dataclass(frozen=True, eq=False)
class UnitPart:
    """Share of the units of one group in one weight.

    Attributes:
        parameter: Name of the weight.
        dim: Dimension along which the units lie: 0 for rows (outputs), 1 for columns (inputs).
        index: Positions along the dimension that belong to each unit, (units, width), int64.
    """

    parameter: str
    dim: int
    index: Tensor


@dataclass(frozen=True, eq=False)
class UnitGroup:
    """Interchangeable units of a model: the heads of one attention, or the hidden units between two layers.

    Without the weights of a unit nothing reads what it computes, so that its zeros and its absence are the same.

    Attributes:
        name: Name of the module whose outputs are the units.
        kind: `head`, or `channel` for a hidden unit or channel.
        parts: Weights of the units, every weight once.
    """

    name: str
    kind: Kind
    parts: tuple[UnitPart, ...]

    def __len__(self) -> int:
        return len(self.parts[0].index)

    def sums(self, values: Mapping[str, Tensor]) -> Tensor:
        """Returns the sum over the weights of each unit: (units,), float64.

        Args:
            values: A value for each weight, {name: tensor in the weight's own shape}.
        """
        total = torch.zeros(len(self), dtype=torch.float64)
        for part in self.parts:
            lines = values[part.parameter].double().movedim(part.dim, 0).flatten(1).sum(1)
            total += lines[part.index.to(lines.device)].sum(1).cpu()
        return total

    def size(self, weights: Mapping[str, Tensor]) -> int:
        """Returns the number of weights of one unit."""
        return sum(
            part.index.shape[1] * (weights[part.parameter].numel() // weights[part.parameter].shape[part.dim])
            for part in self.parts
        )

    def lines(self, part: UnitPart, units: Tensor) -> Tensor:
        """Returns the positions along a part's dimension of some units, int64."""
        return part.index[units].flatten()

    def positions(self, part: UnitPart, shape: torch.Size) -> Tensor:
        """Returns the places of each unit's weights in the row-major order of a weight: (units, weights), int64."""
        places = torch.arange(shape.numel()).view(shape).movedim(part.dim, 0).flatten(1)
        return places[part.index].flatten(1)


def covered(groups: tuple[UnitGroup, ...]) -> list[str]:
    """Returns the names of the weights that have units, each once."""
    return list(dict.fromkeys(part.parameter for group in groups for part in group.parts))
