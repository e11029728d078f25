"""Joint OBS cost of units in a block-diagonal Fisher, and the greedy order of removal by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cap.elimination import check_positive, layer_in_errors
from cap.fisher.blocks import split_blocks
from cap.kernels.batched import not_positive
from cap.structured.selection import UnitRanking
from cap.structured.units import UnitGroup

CHUNK_BYTES = 2**26  # systems that are solved at a time


def rank_by_joint_cost(
    group: UnitGroup, weights: Mapping[str, Tensor], inverses: Mapping[str, Tensor], block_size: int
) -> UnitRanking:
    """Removes the units of a group one at a time, each time the one of lowest joint OBS cost.

    The cost of a unit with weights S is the loss increase of removing them together while all others of their blocks
    take their optimal values, `1/2 w_S^T ((F^-1)_SS)^-1 w_S`, summed over the blocks that have a part of S (Hassibi and
    Stork, 1992, for more than one weight; Kurtic et al., 2022, arXiv 2203.07259, eq. 6). After each removal weights and
    inverses of these blocks are those of the joint update, so that the next costs see it: Algorithm 1 of Kuznedelev et
    al., 2023 (arXiv 2210.09223), unit by unit in place of weight by weight.

    Args:
        group: The units.
        weights: Weights, {name: weight}; those that are not of the group are not looked at.
        inverses: F^-1 of the group's weights, {name: (blocks, B, B)}; left as they are.
        block_size: B.

    Returns:
        The order, and as scores the cost per weight of a unit when it goes, or a higher one before it: the blocks of
        other groups change nothing, and units of different sizes compare.

    Raises:
        ValueError: If a block is not positive definite.
    """
    layers = [
        _LayerElimination(part.parameter, weights[part.parameter], inverses[part.parameter], positions, block_size)
        for part in group.parts
        for positions in [group.positions(part, weights[part.parameter].shape)]
    ]
    order, costs = [], []
    alive = torch.ones(len(group), dtype=torch.bool)
    for _ in range(len(group)):
        cost = sum((layer.unit_costs for layer in layers), torch.zeros(len(group), dtype=torch.float64))
        unit = int(cost.masked_fill(~alive, torch.inf).argmin())
        order.append(unit)
        costs.append(float(cost[unit]))
        alive[unit] = False
        for layer in layers:
            layer.remove(unit, alive)
    scores = torch.tensor(costs, dtype=torch.float64).clamp(min=0).cummax(0).values / group.size(weights)
    return UnitRanking(torch.tensor(order), scores)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Parts of units within single blocks.

    Attributes:
        unit: Unit of each piece, (pieces,), int64.
        block: Block of each piece, (pieces,), int64.
        place: Entries of the block, (pieces, widest), int64; 0 where a piece is narrower.
        real: Which of them the piece has, (pieces, widest), boolean.
    """

    unit: Tensor
    block: Tensor
    place: Tensor
    real: Tensor

    @classmethod
    def of(cls, positions: Tensor, block_size: int) -> _Pieces:
        """Cuts units into pieces.

        Args:
            positions: Places of each unit's weights in the layer, (units, weights), int64.
            block_size: B.
        """
        positions = positions.sort(1).values
        block = (positions // block_size).flatten()
        unit = torch.arange(len(positions)).repeat_interleave(positions.shape[1])
        begins = torch.ones_like(block, dtype=torch.bool)
        begins[1:] = (block[1:] != block[:-1]) | (unit[1:] != unit[:-1])
        piece = begins.cumsum(0) - 1
        starts = begins.nonzero().flatten()
        rank = torch.arange(len(block)) - starts[piece]
        place = torch.zeros(len(starts), int(rank.max()) + 1, dtype=torch.int64)
        real = torch.zeros_like(place, dtype=torch.bool)
        place[piece, rank], real[piece, rank] = (positions % block_size).flatten(), True
        return cls(unit[starts], block[starts], place, real)


class _LayerElimination:
    """One layer's blocks while units are removed.

    Args:
        name: Name of the weight, for errors.
        weight: The weight.
        inverse: F^-1, (blocks, B, B).
        positions: Places of each unit's weights, (units, weights), int64.
        block_size: B.

    Attributes:
        unit_costs: Cost of each unit's part in this layer, (units,), float64, on the CPU.
    """

    def __init__(self, name: str, weight: Tensor, inverse: Tensor, positions: Tensor, block_size: int) -> None:
        self._name = name
        self._weight = split_blocks(weight, block_size).double()
        self._inverse = inverse.to(torch.float64, copy=True)
        device = self._weight.device
        pieces = _Pieces.of(positions, block_size)
        self._pieces = _Pieces(*(t.to(device) for t in (pieces.unit, pieces.block, pieces.place, pieces.real)))
        self._costs = torch.zeros(len(pieces.unit), dtype=torch.float64, device=device)
        self._units, self._blocks = pieces.unit, pieces.block  # on the CPU
        self._by_unit = _occurrences(pieces.unit)
        self._by_block = _occurrences(pieces.block)
        self._num_units = len(positions)
        self._refresh(torch.arange(len(pieces.unit), device=device))

    def remove(self, unit: int, alive: Tensor) -> None:
        """Removes the weights of a unit, updates the others, and the costs of the units that are left.

        Args:
            unit: The unit.
            alive: Units that are left, (units,), boolean.
        """
        at = self._by_unit[unit]
        others = torch.cat([self._by_block[block] for block in self._blocks[at].tolist()])
        others = others[alive[self._units[others]]]
        shared = torch.isin(self._blocks[at], self._blocks[others])  # nothing is left to update in the other blocks
        at, others = at[shared].to(self._costs.device), others.to(self._costs.device)
        if not len(others):
            return
        block, place, real = self._pieces.block[at], self._pieces.place[at], self._pieces.real[at].double()
        inverse, weight = self._inverse[block], self._weight[block]
        columns = inverse.gather(2, place[:, None, :].expand(-1, inverse.shape[1], -1)) * real[:, None, :]
        lower, target = self._systems(at)
        half = _solve_lower(lower, torch.cat([target, columns.transpose(1, 2)], dim=2))
        change = half[:, :, 1:].transpose(1, 2)
        self._weight[block] = weight - torch.bmm(change, half[:, :, :1]).squeeze(2)
        self._inverse[block] = torch.baddbmm(inverse, change, half[:, :, 1:], alpha=-1)
        self._refresh(others)

    def _systems(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the Cholesky factors of (F^-1)_SS and the weights w_S of some pieces."""
        block, place, real = self._pieces.block[at], self._pieces.place[at], self._pieces.real[at].double()
        system = self._inverse[block[:, None, None], place[:, :, None], place[:, None, :]]
        system = system * real[:, :, None] * real[:, None, :] + torch.diag_embed(1 - real)
        if system.shape[1] == 1:
            lower = system.sqrt()
            info = ~(system > 0).flatten()
        else:
            lower, info = torch.linalg.cholesky_ex(system)
        with layer_in_errors(self._name, 0):
            check_positive(not_positive(lower, info))
        return lower, (self._weight[block[:, None], place] * real).unsqueeze(2)

    def _refresh(self, pieces: Tensor) -> None:
        """Computes the costs of some pieces anew, and sums them up by unit."""
        widest = self._pieces.place.shape[1]
        for at in pieces.split(max(1, CHUNK_BYTES // (8 * widest**2))):
            lower, target = self._systems(at)
            self._costs[at] = _solve_lower(lower, target).square().sum((1, 2)) / 2
        costs = torch.zeros(self._num_units, dtype=torch.float64, device=self._costs.device)
        self.unit_costs = costs.index_add_(0, self._pieces.unit, self._costs).cpu()


def _solve_lower(lower: Tensor, right: Tensor) -> Tensor:
    """Returns L^-1 R for L (n, k, k) and R (n, k, m); single weights, the usual case, need no LAPACK."""
    return right / lower if lower.shape[1] == 1 else torch.linalg.solve_triangular(lower, right, upper=False)


def _occurrences(values: Tensor) -> dict[int, Tensor]:
    """Returns the places of each value, {value: places}."""
    order = values.argsort(stable=True)
    found, counts = values[order].unique_consecutive(return_counts=True)
    return dict(zip(found.tolist(), order.split(counts.tolist()), strict=True))
