"""Observed increase of the calibration loss against the predicted one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.reports.sweep.figures.panels import by_model, finish, label_heights, line_styles, panels
from bench.results.labels import method_order

PREDICTED, OBSERVED = "predicted_loss_increase", "observed_loss_increase"


def loss_scatter(done: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws the observed increase of the calibration loss against the predicted one, one panel per model.

    Args:
        done: As `bench.reports.sweep.summary.finished` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG; none where not both were recorded.
    """
    both = done[(done["phase"] == "one_shot") & done[PREDICTED].notna() & done[OBSERVED].notna()]
    points = both[(both[PREDICTED] > 0) & (both[OBSERVED] > 0)]
    if points.empty:
        return []
    points = points.sort_values("method", key=lambda methods: methods.map(method_order), kind="stable")
    styles, models = line_styles(points, points["name"]), by_model(points.sort_index())
    figure, axes = panels(len(models))
    for axis, model in zip(axes, models, strict=True):
        part = model.cells
        ends = [part[[PREDICTED, OBSERVED]].min().min(), part[[PREDICTED, OBSERVED]].max().max()]
        axis.loglog(ends, ends, color="black", linewidth=1, linestyle=":", label="observed as predicted")
        for name, (color, marker, _) in styles.items():
            cells = part[part["name"] == name]
            axis.scatter(cells[PREDICTED], cells[OBSERVED], s=16, c=color, marker=marker, alpha=0.7, linewidths=0.8,
                         label=name)  # fmt: skip
        axis.set_title(model.title)
        axis.set_xlabel("predicted increase of the loss")
        axis.grid(alpha=0.3)
    label_heights(axes, "observed increase")
    left = len(both) - len(points)
    note = f"{left} of {len(both)} points are not shown: one of the two is not above zero" if left else ""
    return finish(figure, axes, f"{title}: calibration loss, one-shot", stem, note)
