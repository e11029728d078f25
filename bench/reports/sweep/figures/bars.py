"""Accuracy at N:M patterns as bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.reports.sweep.figures.panels import (
    PANEL,
    by_model,
    draw_dense,
    finish,
    label_heights,
    line_styles,
    panels,
)
from bench.reports.sweep.summary import series

GROUP = 0.84  # width of the bars of one pattern together


def pattern_bars(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy at N:M patterns, one panel per model: bars one-shot, diamonds fine-tuned.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it, cells of N:M patterns alone.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    names = series(summary)
    models, styles = by_model(summary), line_styles(summary, names)
    patterns = list(dict.fromkeys(summary.sort_values(["sparsity", "pattern"])["pattern"]))
    width = GROUP / len(styles)
    tuned = summary["finetuned_n"].notna().any()
    figure, axes = panels(len(models), width=max(PANEL[0], 0.28 * len(styles) * len(patterns)))
    for axis, model in zip(axes, models, strict=True):
        draw_dense(axis, model.cells)
        for number, (name, (color, _, _)) in enumerate(styles.items()):
            cells = model.cells[names.loc[model.cells.index] == name]
            places = [patterns.index(p) + (number - (len(styles) - 1) / 2) * width for p in cells["pattern"]]
            _draw_one_shot(axis, places, cells, 0.92 * width, color, f"{name} one-shot" if tuned else name)
            _draw_finetuned(axis, places, cells, "fine-tuned" if tuned and number == len(styles) - 1 else None)
        axis.set_xticks(range(len(patterns)), patterns)
        axis.set_title(model.title)
    label_heights(axes, "top-1, %" if tuned else "one-shot top-1, %")
    return finish(figure, axes, title, stem, note)


def _draw_one_shot(axis: Axes, places: list[float], cells: pd.DataFrame, width: float, color: str, name: str) -> None:
    """Draws bars with their values in them."""
    drawn = axis.bar(
        places,
        cells["one_shot_mean"],
        width,
        yerr=cells["one_shot_std"].fillna(0),
        color=color,
        error_kw={"linewidth": 0.8},
        label=name,
    )
    axis.bar_label(
        drawn,
        fmt=lambda value: f"{value:.1f}" if value == value else "",
        label_type="center",
        rotation=90,
        fontsize=7,
        color="white",
    )


def _draw_finetuned(axis: Axes, places: list[float], cells: pd.DataFrame, name: str | None) -> None:
    axis.errorbar(
        places,
        cells["finetuned_mean"],
        yerr=cells["finetuned_std"].fillna(0),
        fmt="D",
        color="black",
        markerfacecolor="white",
        markersize=4,
        linewidth=0.8,
        label=name,
    )
