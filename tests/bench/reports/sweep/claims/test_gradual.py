from __future__ import annotations


def test_whole_runs_drops_and_leads(make, frame, one, none) -> None:
    common = {"regime": "gradual", "phase": "finetuned"}
    rows = frame(
        make("cap", "0.5", [89.55, 89.55], **common), make("cap", "0.9", [80.1, 81.9], **common),
        make("magnitude", "0.5", [88.55, 90.55], **common), make("magnitude", "0.9", [80.0, 80.0], **common),
        make("cap", "0.5", [86.85], model="dino", **common), make("cap", "0.9", [81.0], model="dino", **common),
    )  # fmt: skip
    claim = one(rows, "C7")
    assert "models at 50 % and 90 %): holds, 3 of 3 runs of CAP gave all 2" in claim
    assert "50 %: 2.00 % (1 of 2 models), 90 %: 10.00 % (0 of 2 models)" in claim
    assert "over GM 50 %: +0.00, 90 %: +1.00." in claim
    rows.loc[2, "status"] = "failed"  # CAP at 90 % with the first seed
    assert "holds in part, 2 of 3 runs" in one(rows, "C7")
    assert none(frame(make("cap", "0.5", [1.0], **common)), "C7"), "one sparsity is no path"
    assert none(rows.assign(regime="one_shot"), "C7")
