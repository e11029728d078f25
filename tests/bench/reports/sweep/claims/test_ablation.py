from __future__ import annotations


def test_best_value_and_spread_of_each_option(make, frame, one, none) -> None:
    top1 = {(64, 0.1): [80.0, 82.0], (16, 0.1): [70.0, 70.0], (256, 0.1): [83.0, 83.0], (64, 1.0): [81.5, 81.5]}
    rows = frame(*(make("cap", "0.75", v, options={"m": m, "damp": damp}) for (m, damp), v in top1.items()))
    assert one(rows, "C8 (CAP, m") == (
        "C8 (CAP, m 16, 64 and 256, base 64; one-shot top-1): 75 %: best 256 with 83.00, worst 16 with 70.00, "
        "spread 13.00 points. Largest standard deviation over seeds 1.41."
    )
    assert "damp 0.1 and 1, base 0.1; one-shot top-1): 75 %: best 1 with 81.50" in one(rows, "C8 (CAP, damp")
    assert none(frame(make("cap", "0.75", [80.0])), "C8")
