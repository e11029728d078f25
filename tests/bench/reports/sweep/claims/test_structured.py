from __future__ import annotations

from bench.reports.sweep.claims import claims

SIZES = {
    "violations": 0, "params_dense": 100, "params_small": 60, "macs_dense": 1000, "macs_small": 500,
    "cut_deviation": 1e-6, "latency_dense": 0.3, "latency_small": 0.2,
}  # fmt: skip


def test_units_and_what_comes_on_top(make, frame, none) -> None:
    rows = frame(
        make("cap", "0.5@units", [80.0, 82.0], **SIZES),
        make("magnitude", "0.5@units", [60.0, 62.0], **SIZES),
        make("cap", "0.5@units+0.5", [79.0, 75.0], **SIZES),
    )
    first, second = [claim for claim in claims(rows) if claim.startswith("C4")]
    assert "smaller models run): holds, 4 of 4 cut models" in first
    assert "50 % units: mean one-shot top-1 over models CAP 81.00, GM 61.00" in first
    assert "50 % of the multiply-adds and run 1.50 times as fast as dense" in first
    assert "on top costs" in second
    assert "does not hold, in 0 of 1 cells" in second
    assert "50 % units, then 50 % -4.00" in second
    rows["cut_deviation"] = [1e-3, *rows["cut_deviation"][1:]]
    assert "holds in part, 3 of 4" in claims(rows)[0]
    assert none(frame(make("magnitude", "0.5@units", [60.0], **SIZES)), "C4")


def test_single_weights_on_top_are_compared_with_the_same_units(make, frame, one) -> None:
    rows = frame(make("cap", "0.25@units", [80.0], **SIZES), make("cap", "0.5@units+0.5", [79.0], **SIZES))
    assert "structured part" in one(rows, "C4")


def test_by_the_protocol_accuracy_and_speed_are_needed(everywhere, frame, judged) -> None:
    after = {**SIZES, "macs_small": 760, "phase": "finetuned"}
    good = everywhere("cap", "0.25@units", [89.7, 89.75, 89.8], **after)
    for number, row in enumerate(good):
        row["latency_small"] = 0.2 + 0.001 * (number % 3)
    [found] = judged(frame(good), "C4b")
    assert found.outcome == "holds"
    assert "times as fast as dense, mean with interval over dense seeds: vit 1.49 (1.47 to 1.51)" in found.text
    [untimed] = judged(frame(good).assign(latency_small=None), "C4b")
    assert untimed.outcome == "undecided"
    assert "vit not measured" in untimed.text
    [slower] = judged(frame(good).assign(latency_dense=0.1), "C4b")
    assert slower.outcome == "fails", "none is faster"
    [lost] = judged(frame(everywhere("cap", "0.25@units", [85.0, 85.1, 85.2], **after)), "C4b")
    assert lost.outcome == "fails"
    assert judged(frame(good).assign(macs_small=500), "C4b") == [], "half of the multiply-adds is another matter"
