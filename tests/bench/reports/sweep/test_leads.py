from __future__ import annotations

import pytest
from scipy import stats

from bench.reports.sweep.leads import lead_sentence, lead_table, leads_over_best
from bench.reports.sweep.summary import SweepResults

CAP, OBC = [88.0, 88.4, 88.6], "OBC (per layer)"


def test_the_best_rival_of_each_model_counts(seeded, frame) -> None:
    rows = frame(
        seeded("cap", "0.9", CAP), seeded("magnitude", "0.9", [80.0, 80.0, 80.0]),
        seeded("obc", "0.9@layer", [87.0, 87.1, 87.8]), seeded("fastcap", "0.9@layer", [89.0, 89.0, 89.0]),
        seeded("cap", "0.9", CAP, model="convnext"), seeded("magnitude", "0.9", [86.0, 86.1, 86.2], model="convnext"),
        seeded("obc", "0.9@layer", [89.0], model="convnext"),
    )  # fmt: skip
    vit, convnext, mean = leads_over_best(SweepResults.of(rows), [0.9])
    assert (vit.model, vit.best, vit.rivals) == ("vit", (OBC,), ("GM", OBC))
    differences = [one - other for one, other in zip(CAP, [87.0, 87.1, 87.8], strict=True)]
    assert vit.estimate.interval() == pytest.approx(tuple(stats.ttest_1samp(differences, 0).confidence_interval()))
    assert convnext.best == ("GM",), "OBC lacks two dense seeds there"
    assert mean.estimate.value == pytest.approx((vit.estimate.value + convnext.estimate.value) / 2)
    [first, *_, last] = lead_table([vit, convnext, mean]).to_dict("records")
    assert first["90 %"].startswith("+1.03 (")
    assert first["90 %"].endswith(f" over {OBC}")
    assert (last["model"], last["90 %"].split(" over ")[1]) == ("mean", f"{OBC} and GM")
    [told] = lead_sentence([vit, convnext, mean])
    assert told.startswith(f"Lead in points over the best of all 2 rivals, GM and {OBC}, on each model: 90 % +1.")


def test_without_a_rival_or_with_several_caps_there_is_no_lead(seeded, frame) -> None:
    assert leads_over_best(SweepResults.of(frame(seeded("cap", "0.9", CAP))), [0.9]) == []
    twice = frame(seeded("cap", "0.9", CAP, options={"damp": 1}), seeded("cap", "0.9", CAP, options={"damp": 2}),
                  seeded("obc", "0.9", CAP))  # fmt: skip
    assert leads_over_best(SweepResults.of(twice), [0.9]) == []
    assert lead_sentence([]) == []


def test_leads_are_of_tuned_pruners(seeded, frame) -> None:
    """What is at the authors' setting is shown beside, and decides nothing."""
    rows = frame(
        seeded("cap", "0.9", CAP, setting="tuned", options={"damp": 1}),
        seeded("cap", "0.9", [10.0, 10.0, 10.0], setting="authors", options={"damp": 2}),
        seeded("obc", "0.9@layer", [87.0, 87.1, 87.8], setting="tuned", options={"damp": 1}),
        seeded("obc", "0.9@layer", [89.0, 89.0, 89.0], setting="authors", options={"damp": 2}),
        seeded("magnitude", "0.9", [80.0, 80.0, 80.0]),
    )
    [lead] = leads_over_best(SweepResults.of(rows), [0.9])
    assert lead.estimate.value == pytest.approx(sum(CAP) / 3 - 87.3)
    assert lead.best == ("OBC (per layer) tuned",)
