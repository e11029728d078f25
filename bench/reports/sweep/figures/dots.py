"""Accuracy at N:M patterns as dots: a row of panels a model, a panel a pattern."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from bench.reports.common.plotting import Style
from bench.reports.sweep.figures.panels import (
    by_model,
    control_of,
    draw_control,
    draw_dense,
    finish,
    line_styles,
    split_controls,
)
from bench.reports.sweep.summary import series
from bench.results.labels import pattern_in_words

WIDTH, NAMES = 2.7, 1.2  # inches of a panel, and of the names beside the first
LINE, FRAME = 0.22, 0.85  # inches of a pruner's line, and of title and axis
APART = 0.16  # of a line, between what is one-shot and what is fine-tuned
GREY = "0.35"


def pattern_dots(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy at N:M patterns, on a scale of its own in each panel: filled one-shot, hollow fine-tuned.

    The dense model, 1 % relative below it, and the dense model after the same training are lines across.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it: cells of N:M patterns, and of the control.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG; none where there is no pruned model.
    """
    controls, cells = split_controls(summary)
    if cells.empty:
        return []
    names = series(cells)
    models, styles = by_model(cells), line_styles(cells, names)
    patterns = list(dict.fromkeys(cells.sort_values(["sparsity", "pattern"])["pattern"]))
    size = (NAMES + WIDTH * len(patterns), len(models) * (FRAME + LINE * max(4, len(styles))))
    figure, grid = plt.subplots(len(models), len(patterns), figsize=size, squeeze=False, sharey=True)
    for row, model in zip(grid, models, strict=True):
        for axis, pattern in zip(row, patterns, strict=True):
            own = model.cells[model.cells["pattern"] == pattern]
            draw_dense(axis, model.cells, upright=True)
            if own["finetuned_n"].notna().any():
                draw_control(axis, control_of(controls, model.model), upright=True)
            _draw_dots(axis, own, names, styles)
            axis.set_title(f"{model.title}, {pattern_in_words(pattern)}")
            axis.set_xlabel("top-1, %")
    grid[0, 0].set_ylim(len(styles) - 0.4, -0.6)  # the first on top
    return finish(figure, list(grid.flat), title, stem, note)


def _draw_dots(axis: Axes, cells: pd.DataFrame, names: pd.Series, styles: dict[str, Style]) -> None:
    axis.set_yticks(range(len(styles)), styles)
    phases = [phase for phase in ("one_shot", "finetuned") if cells[f"{phase}_n"].notna().any()]
    for place, (name, (color, marker, _)) in enumerate(styles.items()):
        for _, cell in cells[names.loc[cells.index] == name].iterrows():
            for number, phase in enumerate(phases):
                if pd.isna(cell[f"{phase}_mean"]):
                    continue
                height = place + APART * (number - (len(phases) - 1) / 2) * 2
                face = color if phase == "one_shot" else "white"
                deviation = cell[f"{phase}_std"]
                axis.errorbar(
                    cell[f"{phase}_mean"], height, xerr=0.0 if pd.isna(deviation) else deviation, fmt=marker,
                    color=color, markerfacecolor=face, markersize=5, linewidth=1, zorder=3,
                )  # fmt: skip
    for phase, said, face in (("one_shot", "one-shot", GREY), ("finetuned", "fine-tuned", "white")):
        if phase in phases:
            axis.plot([], [], "o", color=GREY, markerfacecolor=face, markersize=5, label=said)
