from __future__ import annotations

import pytest
from scipy import stats


def test_lead_over_another_pruner(make, frame, one) -> None:
    rows = frame(
        make("magnitude", "0.75", [60.0, 61.0, 62.0]), make("cap", "0.75", [80.0, 82.0, 87.0]),
        make("magnitude", "0.95", [10.0, 10.0, 10.0]), make("cap", "0.95", [40.0, 41.0, 42.0]),
    )  # fmt: skip
    claim = one(rows, "C2")
    assert "(CAP beats GM one-shot): holds, CAP's mean is the highest in 2 of 2 cells" in claim
    assert "in 2 it beats the best other pruner with every seed" in claim
    assert "75 %: +22.00, 95 %: +31.00" in claim
    assert "larger at 95 % than at the lowest sparsity" in claim
    turned = rows.assign(pruner=rows["pruner"].map({"cap": "magnitude", "magnitude": "cap"}))
    assert "does not hold" in one(turned, "C2")


def test_the_best_rival_of_each_cell_counts_and_plain_sparsities_alone(make, frame, one) -> None:
    rows = frame(
        make("cap", "0.5", [80.0, 84.0]),
        make("woodfisher", "0.5", [81.0, 82.0], options={"block_size": 64}),
        make("woodfisher", "0.5", [70.0, 70.0], options={"block_size": 1}),
        make("mfac", "0.9", [70.0, 70.0]),
        make("cap", "0.9", [60.0, 60.0]),
        make("cap", "0.9", [99.0, 99.0], phase="finetuned"),
        make("obc", "0.5@layer", [89.0, 89.0]),
    )
    claim = one(rows, "C2")
    assert "CAP beats WF, WF-1 and M-FAC one-shot): holds in part" in claim
    assert "highest in 1 of 2 cells, and in 0 it beats" in claim
    assert "50 %: +0.50, 90 %: -10.00; smallest -10.00, largest +0.50" in claim


def test_it_needs_one_cap_and_another_pruner_in_one_cell(make, frame, none) -> None:
    cap = make("cap", "0.75", [80.0])
    assert none(frame(cap), "C2")
    assert none(frame(cap, make("magnitude", "0.5", [1.0])), "C2")
    other = make("cap", "0.75", [80.0], options={"damp": 1.0})
    assert none(frame(cap, other, make("magnitude", "0.75", [1.0])), "C2"), "which CAP?"


RIVALS = ("magnitude", "gradient_weight", "woodfisher", "mfac")
BETTER = {"0.5": [88.0, 88.2, 88.4], "0.75": [86.0, 86.1, 86.4], "0.9": [84.0, 84.2, 84.7]}
WORSE = {"0.5": [87.0, 87.3, 87.6], "0.75": [80.0, 80.3, 80.9], "0.9": [70.0, 70.5, 71.0]}


def table(everywhere, leave_out: str = "", **tops: dict[str, list[float]]) -> list[list]:
    """Rows of CAP and its rivals at three sparsities on all architectures."""
    values = {"cap": BETTER, **dict.fromkeys(RIVALS, WORSE), **tops}
    return [
        everywhere(pruner, pattern, top1)
        for pruner, patterns in values.items()
        for pattern, top1 in patterns.items()
        if pruner != leave_out
    ]


def test_by_the_protocol_each_rival_counts(everywhere, frame, judged) -> None:
    [found] = judged(frame(*table(everywhere)), "C2")
    assert found.outcome == "holds"
    assert [cell.name for cell in found.cells][:3] == ["over GM at 50 %", "over GM at 75 %", "over GM at 90 %"]
    assert len(found.cells) == found.corrected == 12
    differences = [one - other for one, other in zip(BETTER["0.9"], WORSE["0.9"], strict=True)]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    assert found.cells[2].estimate.interval() == pytest.approx((low, high)), "seeds are paired, models averaged"
    assert "worse in no cell, and the mean difference at 90 % larger than at 50 %" in found.sentence
    strong = {**BETTER, "0.9": [88.0, 88.3, 88.5]}
    [lost] = judged(frame(*table(everywhere, mfac=strong)), "C2")
    assert lost.outcome == "fails"
    assert {cell.outcome for cell in lost.cells if "M-FAC at 90" in cell.name} == {"worse"}
    near = {"0.5": [60.0, 60.2, 60.4], "0.75": WORSE["0.75"], "0.9": [83.0, 83.3, 83.4]}
    [flat] = judged(frame(*table(everywhere, **dict.fromkeys(RIVALS, near))), "C2")
    assert flat.outcome == "undecided", "the lead is larger at 50 %"


def test_a_missing_rival_or_architecture_confirms_nothing(everywhere, seeded, frame, judged) -> None:
    [found] = judged(frame(*table(everywhere, leave_out="mfac")), "C2")
    assert found.outcome == "undecided"
    assert "Not on all architectures: M-FAC at 50 %, M-FAC at 75 % and M-FAC at 90 %." in found.text
    on_one = [seeded(pruner, "0.9", top1) for pruner, top1 in (("cap", BETTER["0.9"]), ("mfac", [89.0, 89.0, 89.1]))]
    [alone] = judged(frame(*on_one), "C2")
    assert alone.outcome == "undecided", "worse, but on one architecture"
    assert alone.cells[0].p_value is None


def test_where_all_have_collapsed_nothing_is_decided(everywhere, frame, judged) -> None:
    lost = {**WORSE, "0.9": [20.0, 20.3, 20.2]}
    tops = {"cap": {**BETTER, "0.9": [12.0, 12.1, 12.2]}, **dict.fromkeys(RIVALS, lost)}
    [found] = judged(frame(*table(everywhere, **tops)), "C2")
    assert found.outcome == "undecided"
    assert {cell.outcome for cell in found.cells if cell.name.endswith("90 %")} == {"undecided"}


def test_the_lead_is_quoted_over_the_best_of_all_rivals(everywhere, frame, judged) -> None:
    """Others than the row's four carry no verdict; with layer-wise ones they count for the lead over the best."""
    layerwise = [everywhere("obc", "0.9@layer", [83.0, 83.5, 83.4]), everywhere("obert", "0.9", [80.0, 80.1, 80.2])]
    [found] = judged(frame(*table(everywhere), *layerwise), "C2")
    assert found.outcome == "holds"
    assert [cell.name for cell in found.cells if cell.p_value is None] == ["over oBERT at 90 %"]
    assert "over the best of all 6 rivals, GM, GrW, WF, M-FAC, " in found.text
    differences = [one - other for one, other in zip(BETTER["0.9"], [83.0, 83.5, 83.4], strict=True)]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    assert f"90 % +1.00 ({low:+.2f} to {high:+.2f}) over OBC" in found.text


def test_leads_come_from_images_where_predictions_are_stored(everywhere, frame, judged, predicted) -> None:
    rows = frame(*table(everywhere))
    [found] = judged(rows, "C2", predicted(rows))
    assert found.cells[2].estimate.value == pytest.approx(13.8, abs=0.1)
    assert found.cells[2].estimate.image_variance > 0
