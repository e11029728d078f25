"""Accuracy of composed pruners by mask and update, and by the layers' sparsities."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.reports.sweep.attribution import UNIFORM, composed, of_both_allocations
from bench.reports.sweep.figures.panels import by_model, finish, panels
from bench.results.labels import CAP, method_order, percent


def attribution_maps(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws a map of mask by update and sparsity for every model, each field with its one-shot top-1.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the figure.

    Returns:
        The files written, PNG and SVG; none without composed pruners.
    """
    cells = composed(summary)
    own = cells["allocation"] == cells["mask"]  # where masks do not decide on layers themselves, the table tells
    cells = cells[own] if own.any() else cells
    if cells.empty:
        return []
    models = by_model(cells)
    figure, axes = panels(len(models), width=5.4)
    for axis, model in zip(axes, models, strict=True):
        masks = list(dict.fromkeys(model.cells["mask"]))
        columns = [
            (sparsity, update)
            for sparsity in sorted(model.cells["sparsity"].unique())
            for update in dict.fromkeys(cells["update"])
        ]
        top1 = model.cells.pivot_table(index="mask", columns=["sparsity", "update"], values="one_shot_mean")
        values = top1.reindex(index=masks, columns=pd.MultiIndex.from_tuples(columns))
        _draw_map(axis, values, [f"{mask} mask" for mask in masks])
        axis.set_title(model.title)
    return finish(figure, axes, title, stem, note)


def allocation_maps(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws a map for every model of the masks that ran with CAP's layer sparsities and with equal ones.

    Each mask is with the weights of its own pruner, or else with the joint update.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the figure.

    Returns:
        The files written, PNG and SVG; none where no mask ran with both.
    """
    cells = of_both_allocations(summary)
    if cells.empty:
        return []
    models = by_model(cells)
    figure, axes = panels(len(models), width=5.4)
    for axis, model in zip(axes, models, strict=True):
        top1 = model.cells.pivot_table(index="mask", columns=["sparsity", "allocation"], values="one_shot_mean")
        columns = [(sparsity, whose) for sparsity in top1.columns.levels[0] for whose in (UNIFORM, CAP)]
        values = top1.reindex(index=sorted(top1.index, key=method_order), columns=pd.MultiIndex.from_tuples(columns))
        _draw_map(axis, values, [str(mask) for mask in values.index], " layers")
        axis.set_title(model.title)
    return finish(figure, axes, f"{title}: equal layer sparsities, and CAP's", stem, note)


def _draw_map(axis: Axes, values: pd.DataFrame, rows: list[str], after: str = "") -> None:
    """Draws top-1 as colours with numbers in them, columns by sparsity and what else their second level names."""
    axis.imshow(values.to_numpy(), cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for row, line in enumerate(values.to_numpy()):
        for column, value in enumerate(line):
            if value == value:
                color = "black" if value > 60 else "white"
                axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    axis.grid(visible=False)
    names = [f"{percent(sparsity)} {other}{after}" for sparsity, other in values.columns]
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
