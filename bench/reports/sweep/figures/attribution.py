"""Accuracy of composed pruners by mask and update, and by the layers' sparsities."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.reports.sweep.attribution import UNIFORM, composed, of_both_allocations
from bench.reports.sweep.figures.panels import by_model, finish, panels
from bench.results.labels import CAP, percent


def attribution_maps(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws maps for every model, each field with its one-shot top-1: mask by update and sparsity, mask by allocation.

    The second has the masks that ran with CAP's layer sparsities and with equal ones, with the weights of their own
    pruner or else with the joint update, under the name `<stem>_layers`.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figures.
        stem: Path without suffix.
        note: Line below the figures.

    Returns:
        The files written, PNG and SVG; none of what there are no composed pruners for.
    """
    cells = composed(summary)
    own = cells["allocation"] == cells["mask"]  # where masks do not decide on layers themselves, the table tells
    cells = cells[own] if own.any() else cells
    written = _maps(cells, "update", cells["update"].unique(), ("{} mask", "{}"), title, stem, note)
    title, stem = f"{title}: equal layer sparsities, and CAP's", stem.with_name(f"{stem.name}_layers")
    cells = of_both_allocations(summary)
    return written + _maps(cells, "allocation", (UNIFORM, CAP), ("{}", "{} layers"), title, stem, note)


def _maps(
    cells: pd.DataFrame, part: str, values: Iterable[str], words: tuple[str, str], title: str, stem: Path, note: str
) -> list[Path]:
    """Draws a map for every model of masks by sparsity and the values of another part, in words for mask and value."""
    if cells.empty:
        return []
    models = by_model(cells)
    figure, axes = panels(len(models), width=5.4)
    for axis, model in zip(axes, models, strict=True):
        top1 = model.cells.pivot_table(index="mask", columns=["sparsity", part], values="one_shot_mean")
        columns = pd.MultiIndex.from_product([sorted(model.cells["sparsity"].unique()), values])
        shown = top1.reindex(index=model.cells["mask"].unique(), columns=columns)
        rows = [words[0].format(mask) for mask in shown.index]
        _draw_map(axis, shown, rows, [f"{percent(sparsity)} {words[1].format(value)}" for sparsity, value in columns])
        axis.set_title(model.title)
    return finish(figure, axes, title, stem, note)


def _draw_map(axis: Axes, values: pd.DataFrame, rows: list[str], columns: list[str]) -> None:
    """Draws top-1 as colours with numbers in them."""
    axis.imshow(values.to_numpy(), cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for row, line in enumerate(values.to_numpy()):
        for column, value in enumerate(line):
            if value == value:
                color = "black" if value > 60 else "white"
                axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    axis.grid(visible=False)
    axis.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
