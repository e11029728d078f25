from __future__ import annotations

import pandas as pd


def test_bars_for_groups_of_weights(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 82.0]), make("cap", "4:8", [84.0]), make("cap", "2:4", [85.0], phase="finetuned"),
        make("magnitude", "2:4", [60.0]),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    [axis] = figure.panels
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2:4", "4:8"]
    assert [bar.get_height() for bar in axis.patches] == [60, 81, 84]
    assert figure.legend[2:] == ["magnitude one-shot", "CAP one-shot", "fine-tuned"]
    assert axis.get_ylim()[0] == 0, "bars start at zero"
    assert list(drawn(pd.concat([rows, frame(make("cap", "0.5", [80.0]))]))) == ["sweep", "sweep_nm"]
