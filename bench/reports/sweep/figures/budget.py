"""Accuracy against the budget of a training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.reports.common.plotting import DASHES, method_styles
from bench.reports.sweep.figures.panels import by_model, draw_dense, draw_line, finish, label_heights, panels
from bench.results.labels import pattern_in_words
from bench.results.settings import value_text
from bench.results.variants import option_sweeps

PHASE, OPTION = "finetuned", "epochs"
FEWEST = 3  # budgets that make a curve


def has_budgets(summary: pd.DataFrame) -> bool:
    """Returns whether the same training was run with three or more numbers of epochs."""
    return any(option == OPTION and len(tried) >= FEWEST for (_, option), tried in option_sweeps(summary).items())


def budget_curves(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy against the number of epochs, one panel per model, a line for each pruner and pattern.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    trained = summary[summary[f"{PHASE}_n"].notna()]
    models, methods = by_model(trained), [str(method) for method in trained["method"].unique()]
    styles = dict(zip(methods, method_styles(methods), strict=True))
    figure, axes = panels(len(models))
    for axis, model in zip(axes, models, strict=True):
        draw_dense(axis, model.cells)
        for method, cells in model.cells.groupby("method", sort=False):
            for dash, (pattern, points) in zip(DASHES * len(cells), cells.groupby("pattern"), strict=False):
                ordered = points.sort_values(f"{PHASE}_epoch")
                text = f"{method} {pattern_in_words(str(pattern))}"
                draw_line(axis, ordered[f"{PHASE}_epoch"], ordered, PHASE, styles[str(method)], text, dash)
        _scale(axis, sorted(trained[f"{PHASE}_epoch"].unique()))
        axis.set_title(model.title)
    label_heights(axes, "fine-tuned top-1, %")
    return finish(figure, axes, title, stem, note)


def _scale(axis: Axes, epochs: list[float]) -> None:
    """Sets up the horizontal axis: logarithmic, with the budgets that were run."""
    axis.set_xscale("log")
    axis.set_xticks(epochs, [value_text(epoch) for epoch in epochs])
    axis.minorticks_off()
    axis.set_xlabel("epochs of the fine-tune")
