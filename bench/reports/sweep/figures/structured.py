"""Accuracy of models that lost units, against their multiply-adds and their measured speed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.reports.sweep.figures.panels import (
    by_model,
    draw_dense,
    draw_line,
    finish,
    label_heights,
    line_styles,
    panels,
)
from bench.reports.sweep.summary import series
from bench.results.labels import PHASES

AXES = {"macs_left": "multiply-adds, % of dense", "speedup": "measured speed, times dense"}


def size_panels(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy against multiply-adds and against measured speed, two panels a model.

    Args:
        summary: Cells of patterns of units, as `bench.reports.sweep.summary.summarise` returns them.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    phase = next(phase for phase in PHASES if summary[f"{phase}_n"].notna().any())
    names = series(summary)
    styles = line_styles(summary, names)
    figure, axes = panels(len(AXES) * summary["model"].nunique())
    places = iter(axes)
    for model in by_model(summary):
        for column, text in AXES.items():
            axis = next(places)
            draw_dense(axis, model.cells)
            for name, points in model.cells.groupby(names, sort=False):
                x = points[column] * (100 if column == "macs_left" else 1)
                draw_line(axis, x, points, phase, styles[str(name)], str(name), "-")
            axis.set_title(model.title)
            axis.set_xlabel(text)
    label_heights(axes, f"{PHASES[phase]} top-1, %")
    return finish(figure, axes, title, stem, note)
