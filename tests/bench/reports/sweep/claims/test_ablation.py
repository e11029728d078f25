from __future__ import annotations

import pytest


def test_best_value_and_spread_of_each_option(make, frame, one, none) -> None:
    top1 = {(64, 0.1): [80.0, 82.0], (16, 0.1): [70.0, 70.0], (256, 0.1): [83.0, 83.0], (64, 1.0): [81.5, 81.5]}
    rows = frame(*(make("cap", "0.75", v, options={"m": m, "damp": damp}) for (m, damp), v in top1.items()))
    assert one(rows, "C8 (CAP, m") == (
        "C8 (CAP, m 16, 64 and 256, base 64; one-shot top-1): 75 %: best 256 with 83.00, worst 16 with 70.00, "
        "spread 13.00 points. Largest standard deviation over seeds 1.41."
    )
    assert "damp 0.1 and 1, base 0.1; one-shot top-1): 75 %: best 1 with 81.50" in one(rows, "C8 (CAP, damp")
    assert none(frame(make("cap", "0.75", [80.0])), "C8")


def test_options_that_go_together_have_no_effect_of_their_own(make, frame, none) -> None:
    """A composed pruner's mask and the mask's dampening change together; a single option is varied on purpose."""
    composed = [
        make("compose", "0.75", [80.0 + number], options={"mask": mask, "mask_options": damp, "weights": weights})
        for number, (mask, damp) in enumerate((("magnitude", None), ("cap", {"damp": 1e-5}), ("obc", {"damp": 1e-5})))
        for weights in ("none", "cap")
    ]
    assert none(frame(*composed), "C8")
    single = [make("cap", "0.75", [80.0 + power], options={"damp": 10.0**-power}) for power in range(3)]
    assert not none(frame(*single), "C8 (CAP, damp")


def test_by_the_protocol_differences_from_the_base_are_judged(everywhere, frame, judged) -> None:
    base, near, far = [88.0, 88.2, 88.4], [88.05, 88.22, 88.41], [85.0, 85.3, 85.6]
    values = {(64, 0.1): base, (16, 0.1): far, (256, 0.1): near, (64, 1.0): near, (64, 0.01): near}
    rows = frame(
        *(everywhere("cap", "0.75", v, options={"num_gradients": m, "damp": damp}) for (m, damp), v in values.items())
    )
    gradients, damp = judged(rows.assign(split="validation"), "C8")
    assert (gradients.outcome, damp.outcome) == ("holds", "fails")
    assert [cell.name for cell in gradients.cells] == ["16 less 64", "256 less 64"]
    assert [cell.outcome for cell in gradients.cells] == ["differs", "within"]
    assert gradients.corrected == damp.corrected == 4, "for the cells of all options"
    assert gradients.cells[0].estimate.value == pytest.approx(-2.9)
    assert "validation top-1" in gradients.quantity
    assert gradients.statement.endswith("as the paper's grids show; num_gradients of CAP")
    assert [found.quantity.split()[3] for found in judged(rows, "C8")] == ["test", "test"]
    assert gradients.text == "Best value 256, at an end of 16, 64 and 256: there may be a better one beyond."
    assert not any(found.text for found in judged(rows, "C8")), "test images choose nothing"


def test_a_grid_says_whether_it_contains_its_best_value(everywhere, frame, judged) -> None:
    values = {(64, 0.1): [88.0, 88.2, 88.4], (16, 0.1): [85.0, 85.3, 85.6], (256, 0.1): [87.0, 87.2, 87.4],
              (64, 1.0): [80.0, 80.1, 80.2], (64, 0.01): [80.0, 80.1, 80.2]}  # fmt: skip
    rows = frame(
        *(everywhere("cap", "0.75", v, options={"block_size": b, "damp": damp}) for (b, damp), v in values.items())
    )
    blocks, damp = judged(rows.assign(split="validation"), "C8")
    assert (blocks.text, damp.text) == ("Best value 64, within the grid.", "Best value 0.1, within the grid.")
