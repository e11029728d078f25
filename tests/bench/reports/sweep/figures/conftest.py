from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.reports.sweep.figures import figures
from bench.reports.sweep.figures import panels as parts


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn."""

    figure: Figure

    @property
    def panels(self) -> list[Axes]:
        return [axis for axis in self.figure.axes if axis.get_visible()]

    @property
    def legend(self) -> list[str]:
        return [text.get_text() for text in self.figure.legends[0].get_texts()]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[pd.DataFrame], dict[str, Drawn]]:
    """Draws the figures of rows and returns {name of the file: figure}."""
    kept: dict[str, Drawn] = {}
    save = parts.save

    def keep(figure: Figure, stem: Path) -> list[Path]:
        kept[stem.name] = Drawn(figure)
        return save(figure, stem)

    def draw(rows: pd.DataFrame) -> dict[str, Drawn]:
        kept.clear()
        written = figures(rows, "Title", tmp_path / "sweep")
        assert [path.name for path in written] == [f"{name}{suffix}" for name in kept for suffix in (".png", ".svg")]
        assert all(path.stat().st_size for path in written)
        return dict(kept)

    monkeypatch.setattr(parts, "save", keep)
    return draw


@pytest.fixture
def line() -> Callable[[Axes, str], tuple[list[float], list[float]]]:
    """Returns the points of the line of that name."""

    def points(axis: Axes, label: str) -> tuple[list[float], list[float]]:
        handles, labels = axis.get_legend_handles_labels()
        data = handles[labels.index(label)].lines[0]
        return list(data.get_xdata()), list(data.get_ydata())

    return points
