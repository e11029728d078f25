import pytest
import torch

import cap
from cap.patterns import Units
from cap.structured import UnitGroup, UnitPart, UnitRanking
from cap.structured.selection import select_units, unit_masks, unit_violations


def group(name, num_units, width=1):
    index = torch.arange(num_units * width).view(num_units, width)
    return UnitGroup(name, "channel", (UnitPart(f"{name}.in", 0, index), UnitPart(f"{name}.out", 1, index)))


SMALL, LARGE = group("small", 8), group("large", 2, 4)
GROUPS = (SMALL, LARGE)
WEIGHTS = {name: torch.ones(8, 8) for name in ("small.in", "small.out", "large.in", "large.out")}  # 256 weights
RANKINGS = {"small": UnitRanking.by(torch.arange(8.0)), "large": UnitRanking.by(torch.tensor([9.0, 2.5]))}


@pytest.mark.parametrize(
    ("sparsity", "small", "large"),
    [
        (0.0, [], []),
        (15 / 256, [0], []),
        (24 / 256, [0], []),  # 16 and 32 weights are equally near: the fewer
        (25 / 256, [0, 1], []),
        (79 / 256, [0, 1, 2], []),  # 48 is nearer than 112
        (81 / 256, [0, 1, 2], [1]),
        (160 / 256, [0, 1, 2, 3, 4, 5], [1]),
    ],
)
def test_the_prefix_nearest_to_the_sparsity_goes(sparsity, small, large):
    removed = select_units(GROUPS, WEIGHTS, RANKINGS, Units(sparsity))
    assert (removed["small"].tolist(), removed["large"].tolist()) == (small, large)
    masks = unit_masks(GROUPS, WEIGHTS, removed)
    assert unit_violations(GROUPS, masks, Units(sparsity)) == 0


def test_the_last_unit_of_a_group_stays_and_more_is_refused():
    removed = select_units(GROUPS, WEIGHTS, RANKINGS, Units(176 / 256))
    assert (len(removed["small"]), len(removed["large"])) == (7, 1)
    with pytest.raises(ValueError, match=r"units reach 0\.6875 at most"):
        select_units(GROUPS, WEIGHTS, RANKINGS, Units(0.9))


def test_a_weight_in_a_removed_row_and_column_counts_once():
    index = torch.arange(4).unsqueeze(1)
    rows = UnitGroup("rows", "channel", (UnitPart("a", 0, index),))
    columns = UnitGroup("columns", "channel", (UnitPart("a", 1, index),))
    rankings = {"rows": UnitRanking.by(torch.zeros(4)), "columns": UnitRanking.by(torch.ones(4))}
    removed = select_units((rows, columns), {"a": torch.ones(4, 4)}, rankings, Units(13 / 16))
    masks = unit_masks((rows, columns), {"a": torch.ones(4, 4)}, removed)
    assert int((~masks["a"]).sum()) == 13


def test_violations_count_what_is_missing_or_too_much_beyond_half_a_unit():
    nothing = {name: torch.ones(8, 8) for name in WEIGHTS}
    assert unit_violations(GROUPS, nothing, Units(0.5)) == 128 - 32
    assert unit_violations(GROUPS, nothing, Units(0.1)) == 0


def test_other_pruners_refuse_units_in_one_line():
    for name in set(cap.available()) - {"cap", "magnitude", "taylor"}:
        reason = cap.create(name).refusal(Units(0.5))
        assert reason is not None
        assert "0.5@units" in reason


def test_the_way_to_units_is_told_when_there_are_none():
    model = torch.nn.Linear(4, 4)
    pruner = cap.create("magnitude").fit(model, dict(model.named_parameters()), calibration=None)
    with pytest.raises(ValueError, match="find_units"):
        pruner.prune("0.5@units")
    with pytest.raises(ValueError, match=r"fit again, prune to 0\.5"):
        pruner.prune("0.25@units+0.5")
