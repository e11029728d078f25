from __future__ import annotations

import pytest


def test_changes_and_sizes(make, frame, one, none) -> None:
    def phases(pruner: str, pattern: str, **top1: float) -> list:
        sizes = {"one_shot": 400_000, "int8": 100_000}
        dense = make(pruner, pattern, [90.0], phase="dense", file_bytes=800_000)
        return dense + [
            row for phase, value in top1.items()
            for row in make(pruner, pattern, [value], phase=phase, file_bytes=sizes.get(phase), violations=0)
        ]  # fmt: skip

    rows = frame(
        phases("cap", "0.5", one_shot=88.0, int8=87.9, int8_finetuned=88.1, finetuned=88.2),
        phases("cap", "0.9", one_shot=80.0, int8=79.1, int8_finetuned=80.5, finetuned=81.0),
        phases("magnitude", "0.9", one_shot=50.0, int8=10.0, int8_finetuned=10.0, finetuned=10.0),
    )
    claim = one(rows, "C4")
    assert "holds in part, in 1 of 2 cells (model and sparsity) without any training and in 2 after" in claim
    assert "mean over models: 50 %: -0.10, 90 %: -0.90; with training in INT8 50 %: +0.10, 90 %: +0.50" in claim
    assert "against the same training in single precision 50 %: -0.10, 90 %: -0.50." in claim
    assert "dense 781; 50 % sparse 391 (2.0 times smaller), sparse INT8 98 (8.0)" in claim
    static = one(rows[rows["phase"].isin(["dense", "one_shot", "int8"])], "C4")
    assert "without any training. Change" in static
    assert none(rows[rows["phase"] != "int8"], "C4")
    assert none(rows[rows["pruner"] != "cap"], "C4")
    assert "Files" not in one(rows.assign(file_bytes=None), "C4")


def test_by_the_protocol_int8_is_set_against_the_same_training(everywhere, frame, judged) -> None:
    def phases(**tops: list[float]) -> list:
        return [row for phase, top1 in tops.items() for row in everywhere("cap", "0.75", top1, phase=phase)]

    trained = {"finetuned": [80.0, 80.5, 80.2], "int8_finetuned": [79.9, 80.4, 80.15]}
    [found] = judged(frame(phases(one_shot=[88.0, 88.1, 88.2], int8=[70.0, 70.1, 70.4], **trained)), "C4c")
    assert found.outcome == "holds"
    losses = [100 * (1 - int8 / single) for single, int8 in zip(*trained.values(), strict=True)]
    assert found.cells[0].estimate.value == pytest.approx(sum(losses) / 3)
    assert "in percent of their top-1, fine-tuned, 95 % intervals" in found.sentence
    [untrained] = judged(frame(phases(one_shot=[88.0, 88.1, 88.2], int8=[70.0, 70.1, 70.4])), "C4c")
    assert untrained.outcome == "fails"
    assert judged(frame(phases(finetuned=[80.0, 80.5, 80.2], int8=[79.9, 80.4, 80.15])), "C4c") == [], "not alike"
