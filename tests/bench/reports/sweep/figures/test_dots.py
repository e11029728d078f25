from __future__ import annotations

import pandas as pd


def test_dots_for_groups_of_weights(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 82.0]), make("cap", "4:8", [84.0]), make("cap", "2:4", [85.0], phase="finetuned"),
        make("magnitude", "2:4", [60.0]),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    first, second = figure.panels
    assert [axis.get_title().rpartition(", ")[2] for axis in figure.panels] == ["2:4", "4:8"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["magnitude", "CAP"]
    dots = [(float(x), face) for bars in first.containers for x, face in [
        (bars.lines[0].get_xdata()[0], bars.lines[0].get_markerfacecolor())]]  # fmt: skip
    assert [x for x, _ in dots] == [60, 81, 85]
    assert [face == "white" for _, face in dots] == [False, False, True], "fine-tuned is hollow"
    assert second.get_xlim()[0] > 80, "each panel has a scale of its own"
    assert figure.legend == ["dense", "1 % relative drop", "one-shot", "fine-tuned"]
    assert list(drawn(pd.concat([rows, frame(make("cap", "0.5", [80.0]))]))) == ["sweep", "sweep_nm"]


def test_the_control_is_a_line_and_no_sparsity_of_its_own(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "2:4", [80.0]), make("cap", "2:4", [85.0], phase="finetuned"),
        make("magnitude", "0.0", [90.0]), make("magnitude", "0.0", [89.0], phase="finetuned"),
    )  # fmt: skip
    found = drawn(rows)
    assert list(found) == ["sweep"]
    assert "dense after the same training" in found["sweep"].legend
