"""Accuracy against sparsity, and the times of fitting and reading off."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.reports.common.plotting import DASHES, Style
from bench.reports.sweep.figures.panels import (
    DECADE,
    LARGE,
    MANY,
    PANEL,
    ModelCells,
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


def accuracy_curves(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy against sparsity, one panel per model, and if nothing was trained a panel with the times.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    names = series(summary)
    models, styles = by_model(summary), line_styles(summary, names)
    phases = [phase for phase in PHASES if summary[f"{phase}_n"].notna().any()]
    timed = "finetuned" not in phases and summary["fit_seconds"].notna().any() and len(styles) > 1
    figure, axes = panels(len(models) + timed, *(LARGE if len(styles) > MANY else PANEL))
    for axis, model in zip(axes, models, strict=False):
        draw_dense(axis, model.cells)
        for name, style in styles.items():
            curve = model.cells[names.loc[model.cells.index] == name]
            for place, phase in enumerate(phases):
                points = curve[curve[f"{phase}_n"].notna()]
                text, dash = (f"{name} {PHASES[phase]}", DASHES[place]) if len(phases) > 1 else (name, style.dash)
                if len(points):
                    x = 100 * points["sparsity"]
                    draw_line(axis, x, points, phase, style, text, dash, hollow=place > 0)
        axis.set_title(model.title)
        axis.set_xlabel("sparsity of the pruned layers, %")
    label_heights(axes, "top-1, %" if len(phases) > 1 else f"{PHASES[phases[0]]} top-1, %")
    if timed:
        _pruning_times(axes[-1], models, styles)
    return finish(figure, axes, title, stem, note)


def _pruning_times(axis: Axes, models: list[ModelCells], styles: dict[str, Style]) -> None:
    """Draws how long the fits took, and on top reading off the weights of one pattern, as bars, in groups by model."""
    width = 0.8 / len(styles)
    shown = []
    for place, model in enumerate(models):
        seconds = model.cells["fit_seconds"] + model.cells["prune_seconds"].fillna(0)
        times = seconds.groupby(series(model.cells)).mean()
        for number, (name, (color, _, _)) in enumerate(styles.items()):
            if name in times and times[name] == times[name]:
                axis.bar(place + (number - (len(styles) - 1) / 2) * width, times[name], width, color=color)
                shown.append(times[name])
    if max(shown) > DECADE * min(shown):
        axis.set_yscale("log")
    axis.set_xticks(range(len(models)), [model.model for model in models])
    axis.set_title("time of fit and prune, one pattern")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3, axis="y")
