from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bench.reports.latency import analysis
from bench.reports.latency import figure as figure_module

MakeRows = Callable[..., list[dict[str, Any]]]
MakeTable = Callable[..., pd.DataFrame]


def test_the_figure_shows_ratios_and_accuracy(
    rows: MakeRows, timings: MakeTable, drops: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(figure_module, "save", lambda figure, stem: kept.append(figure) or [stem])
    compared = analysis.analyse(timings(rows(), rows(batch=16, scale=0.5), rows("other", family="convnext")))
    figure_module.draw(compared, drops, tmp_path / "x")
    [figure] = kept
    above, other, below, empty = figure.axes
    assert [above.get_title(), other.get_title(), below.get_title()] == ["deit", "other", "embedded small"]
    lines = {line.get_label(): line for line in above.lines}
    assert list(lines["batch 16, to eager"].get_xdata()) == [0, 50, 75]
    assert list(lines["batch 16, to eager"].get_ydata()) == pytest.approx([1.6, 4, 8])
    bars = {container.get_label(): container.lines[0] for container in above.containers}
    assert list(bars["batch 1, to the best dense engine"].get_ydata()) == pytest.approx([0.4, 1, 2])
    curves = {line.get_label(): list(line.get_ydata()) for line in below.lines}
    assert curves["embedded model, CAP one-shot"] == pytest.approx([99.9, 99.5])
    assert curves["1 % relative drop"] == [99, 99]
    assert [line.get_label() for line in empty.lines] == ["1 % relative drop"], "no model of its family is embedded"
    plt.close(figure)
