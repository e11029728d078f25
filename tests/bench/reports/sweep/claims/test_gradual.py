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


SPARSITIES = ("0.5", "0.6", "0.75", "0.8", "0.9")


def test_by_the_protocol_checkpoints_are_set_against_dedicated_runs(everywhere, frame, judged) -> None:
    def run(top1: list[float], *patterns: str, epochs: int = 0) -> list:
        common = {"regime": "gradual", "phase": "finetuned", "recipe": {"knots": list(patterns), "epochs": epochs}}
        return [row for pattern in patterns for row in everywhere(
            "cap", pattern, top1, epoch=epochs or 2 * (1 + SPARSITIES.index(pattern)), **common)]  # fmt: skip

    whole = run([88.0, 88.1, 88.2], *SPARSITIES)
    [alone] = judged(frame(whole), "C7")
    assert alone.outcome == "undecided", "that the run has checkpoints is no evidence"
    assert "No dedicated run for vit at 50 %, vit at 60 %" in alone.text
    assert not alone.cells
    dedicated = [run([88.1, 88.2, 88.3], pattern) for pattern in SPARSITIES[:-1]]
    [good] = judged(frame(whole, *dedicated), "C7")
    assert good.outcome == "holds"
    assert len(good.cells) == 12, "at 90 % the run ends itself"
    [bad] = judged(frame(whole, *dedicated[1:], run([89.5, 89.6, 89.7], "0.5")), "C7")
    assert bad.outcome == "fails"
    [longer] = judged(frame(whole, *dedicated[1:], run([89.5, 89.6, 89.7], "0.5", epochs=9)), "C7")
    assert longer.outcome == "undecided", "a run of other epochs is no dedicated one"
