from __future__ import annotations


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
