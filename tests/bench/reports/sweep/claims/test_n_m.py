from __future__ import annotations


def test_violations_are_counted_and_pruners_ordered(make, frame, one, none) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 81.0], violations=0),
        make("cap", "4:8", [85.0, 86.0], violations=0),
        make("cap", "2:4", [88.0, 88.0], phase="finetuned", violations=0),
        make("obc", "2:4", [82.0, 83.0], violations=4),
        make("magnitude", "2:4", [60.0, 61.0], violations=0),
    )
    claim = one(rows, "C4")
    assert "holds, 6 of 6 pruned models follow their pattern; violations over all pruners: 8." in claim
    assert "best first: 2:4: OBC 82.50, CAP 80.50, magnitude 60.50." in claim
    assert "fine-tuned" not in claim, "there is nothing to compare with"
    rows.loc[0, "violations"] = 1
    rows.loc[1, "status"] = "skipped"
    assert "holds in part, 4 of 6" in one(rows, "C4")
    assert "not tested, violations were not counted" in one(rows.assign(violations=None), "C4")
    assert none(frame(make("cap", "0.5", [1.0], violations=0)), "C4")


def test_by_the_protocol_accuracy_counts_and_masks_do_not(everywhere, frame, judged) -> None:
    """Masks that comply are no evidence: without the fine-tuned models at 2:4 there is nothing to say."""
    one_shot = everywhere("cap", "2:4", [80.0, 80.1, 80.2], violations=0)
    assert judged(frame(one_shot), "C4a") == judged(frame(one_shot), "C4") == []
    after = {"phase": "finetuned", "violations": 0}
    [good] = judged(frame(one_shot, everywhere("cap", "2:4", [89.7, 89.75, 89.8], **after)), "C4a")
    assert good.outcome == "holds"
    [bad] = judged(frame(one_shot, everywhere("cap", "2:4", [85.0, 85.1, 85.2], **after)), "C4a")
    assert bad.outcome == "fails"
