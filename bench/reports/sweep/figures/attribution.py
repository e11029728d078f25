"""Accuracy of composed pruners by mask and update."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.reports.sweep.attribution import composed
from bench.reports.sweep.figures.panels import by_model, finish, panels
from bench.results.labels import percent


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
        values = top1.reindex(index=masks, columns=pd.MultiIndex.from_tuples(columns)).to_numpy()
        axis.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if value == value:
                    color = "black" if value > 60 else "white"
                    axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
        axis.grid(visible=False)
        names = [f"{percent(sparsity)} {update}" for sparsity, update in columns]
        axis.set_xticks(range(len(columns)), names, rotation=45, ha="right", fontsize=7)
        axis.set_yticks(range(len(masks)), [f"{mask} mask" for mask in masks], fontsize=7)
        axis.set_title(model.title)
    return finish(figure, axes, title, stem, note)
