import itertools

import pytest
import torch

from cap.structured import UnitGroup, UnitPart
from cap.structured.obs import rank_by_joint_cost

B = 4


def inverses(*shapes):
    generator = torch.Generator().manual_seed(3)
    result = {}
    for name, shape in shapes:
        blocks = -(-shape.numel() // B)
        factor = torch.randn(blocks, B, 2 * B, dtype=torch.float64, generator=generator)
        result[name] = torch.linalg.inv(factor @ factor.transpose(1, 2) / B + 0.1 * torch.eye(B, dtype=torch.float64))
    return result


def joint_cost(group, weights, inverse, units):
    """Returns 1/2 w_S^T ((F^-1)_SS)^-1 w_S with one dense matrix for each weight."""
    total = 0.0
    for part in group.parts:
        weight = weights[part.parameter]
        size = weight.numel()
        full = torch.block_diag(*inverse[part.parameter])[:size, :size]
        mask = torch.zeros_like(weight, dtype=torch.bool)
        mask.index_fill_(part.dim, part.index[list(units)].flatten(), True)
        gone = mask.flatten().nonzero().flatten()
        w = weight.double().flatten()[gone]
        total += float(w @ torch.linalg.solve(full[gone][:, gone], w)) / 2
    return total


def group_of(num_units, width=1):
    index = torch.arange(num_units * width).view(num_units, width)
    return UnitGroup("layer", "channel", (UnitPart("into", 0, index), UnitPart("out", 1, index)))


@pytest.mark.parametrize(
    ("num_units", "width", "into", "out"),
    [
        (5, 1, (5, 4), (3, 5)),  # rows are whole blocks, columns lie in blocks of two rows
        (4, 1, (4, 3), (4, 4)),  # rows straddle blocks
        (3, 2, (6, 3), (2, 6)),  # two lines a unit
        (4, 1, (4, 2, 1, 3), (2, 4, 3, 1)),  # kernels
    ],
)
def test_greedy_order_and_costs_are_those_of_brute_force(num_units, width, into, out):
    generator = torch.Generator().manual_seed(0)
    weights = {"into": torch.randn(into, generator=generator), "out": torch.randn(out, generator=generator)}
    inverse = inverses(("into", weights["into"].shape), ("out", weights["out"].shape))
    group = group_of(num_units, width)
    ranking = rank_by_joint_cost(group, weights, inverse, B)

    gone, before, highest, scores = [], 0.0, 0.0, []
    for _ in range(num_units):
        left = [unit for unit in range(num_units) if unit not in gone]
        costs = {unit: joint_cost(group, weights, inverse, [*gone, unit]) - before for unit in left}
        unit = min(costs, key=costs.get)
        gone.append(unit)
        before += costs[unit]
        highest = max(highest, costs[unit])
        scores.append(highest / group.size(weights))
    assert ranking.order.tolist() == gone
    torch.testing.assert_close(ranking.scores, torch.tensor(scores, dtype=torch.float64))


def test_greedy_costs_add_up_to_the_joint_cost_of_the_set():
    weights = {"into": torch.randn(4, 4), "out": torch.randn(4, 4)}
    inverse = inverses(("into", weights["into"].shape), ("out", weights["out"].shape))
    group = group_of(4)
    best = min(joint_cost(group, weights, inverse, pair) for pair in itertools.combinations(range(4), 2))
    order = rank_by_joint_cost(group, weights, inverse, B).order.tolist()
    assert joint_cost(group, weights, inverse, order[:2]) >= best  # greedy is no better than the best pair


def test_a_block_that_is_not_positive_definite_is_named():
    weights = {"into": torch.ones(2, 4), "out": torch.ones(4, 2)}
    inverse = {"into": -torch.eye(B).repeat(2, 1, 1), "out": torch.eye(B).repeat(2, 1, 1)}
    with pytest.raises(ValueError, match="into"):
        rank_by_joint_cost(group_of(2), weights, inverse, B)
