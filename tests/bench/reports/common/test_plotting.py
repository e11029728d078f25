from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.reports.common.plotting import OTHERS, STYLES, legend, legend_entries, save
from bench.results.labels import METHOD_ORDER


def two_panels() -> Figure:
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2], label="a")
    right.plot([1, 2], label="a")
    right.plot([2, 1], label="b")
    return figure


def test_one_legend_for_all_panels() -> None:
    figure = two_panels()
    entries = legend_entries(figure.axes)
    assert list(entries) == ["a", "b"]
    legend(figure, entries, columns=8)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    plt.close(figure)


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    written = save(two_panels(), tmp_path / "figure")
    assert [path.name for path in written] == ["figure.png", "figure.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in save(two_panels(), tmp_path / "figure")] == first
    assert not plt.get_fignums(), "figures are closed"


def test_every_method_has_a_style() -> None:
    assert set(METHOD_ORDER) <= set(STYLES)
    assert not set(STYLES.values()) & set(OTHERS)
