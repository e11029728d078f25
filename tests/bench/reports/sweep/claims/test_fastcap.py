from __future__ import annotations


def test_fastcap_against_cap(make, frame, one, none) -> None:
    rows = frame(
        make("cap", "0.5@layer", [80.0, 82.0], fit_seconds=3.0), make("cap", "0.9@layer", [60.0, 60.0]),
        make("fastcap", "0.5@layer", [80.5, 82.5], fit_seconds=0.75), make("fastcap", "0.9@layer", [58.0, 58.0]),
    )  # fmt: skip
    claim = one(rows, "FastCAP against CAP")
    assert "in 1 of 2 cells" in claim
    assert "50 %: +0.50, 90 %: -2.00" in claim
    assert "faster on 1 of 1 models: vit 0.75 s against 3 s (4 times as fast)" in claim
    assert none(frame(make("cap", "0.5", [1.0]), make("fastcap", "0.5@layer", [1.0])), "FastCAP"), "other patterns"
