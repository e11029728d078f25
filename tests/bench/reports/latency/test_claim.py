from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.reports.latency.analysis import analyse
from bench.reports.latency.claim import speedup_claim

MakeRows = Callable[..., list[dict[str, Any]]]
MakeTable = Callable[..., pd.DataFrame]


def test_the_verdict_is_at_the_sparsity_that_costs_no_accuracy(
    rows: MakeRows, timings: MakeTable, drops: pd.DataFrame
) -> None:
    compared = analyse(timings(rows(), rows(batch=64, scale=2.0)))
    found = speedup_claim(compared, drops)
    assert found is not None
    assert (found.claim, found.outcome) == ("C5", "holds in part")
    said = found.sentence
    assert "accuracy loss): holds in part. At the highest" in said
    assert "in 1 of 2 cells (model and batch), as eager in 2." in said
    assert "deit at 75 %, where the embedded small loses 0.40 %: batch 1 2.00 (4.00), batch 64 1.00 (2.00)." in said
    assert "0 % (control) 0.20 to 0.40 (0.40 to 0.80)" in said
    assert "2 threads of a processor" in said
    slow, fast = (speedup_claim(analyse(timings(rows(scale=scale))), drops) for scale in (2.0, 1.0))
    assert slow is not None
    assert fast is not None
    assert (slow.outcome, fast.outcome) == ("does not hold", "holds")
    assert speedup_claim(compared, drops.assign(one_shot=5.0, finetuned=5.0)) is None
    assert speedup_claim(compared, drops.assign(family="convnext")) is None


def test_masks_of_other_weights_decide_nothing(rows: MakeRows, timings: MakeTable, drops: pd.DataFrame) -> None:
    """By the protocol the accuracy must be that of the timed masks, whatever other models keep."""
    seeded = drops.assign(seeded=True)
    found = speedup_claim(analyse(timings(rows(), rows(batch=64))), seeded)
    assert found is not None
    assert found.outcome == "undecided"
    assert "also where the accuracy of the same masks or four cores are missing" in found.sentence
    assert "whose accuracy is not measured. 2 threads, not 4 cores, were used." in found.text
    assert "deit 50 % 1.00 (0.90 to 1.75), 75 % 2.00" in found.text
    assert speedup_claim(analyse(timings(rows())), seeded) is None, "nothing at batch 64"
