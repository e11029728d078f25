"""Parts that the figures share: panels with a common legend, styles of their lines."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.reports.common.plotting import (
    Style,
    family_place,
    legend,
    legend_entries,
    method_styles,
    save,
)
from bench.results.labels import CAP, PHASES, UNPRUNED
from bench.results.methods import FAMILIES, OTHER

PANEL = (3.6, 3.3)  # width and height, inches
LARGE = (5.2, 4.6)  # the same of a panel with many lines
MANY = 8  # lines from which on a figure has the best of each family, and another one all of them
WIDTH = 15  # inches that panels may take side by side
LEGEND_COLUMNS, LEGEND_LINE = 8, 0.22  # inches
HEADING = 0.08  # inches above the heading
SAID = {"dino": "self-supervised"}  # families by what they are, where their name is that of one model
DECADE = 10  # ratio of largest to smallest from which on an axis is logarithmic


@dataclass(frozen=True)
class ModelCells:
    """Cells of one model.

    Attributes:
        family: Family of the model.
        model: Name of the model.
        cells: Cells or rows of the model.
    """

    family: str
    model: str
    cells: pd.DataFrame

    @property
    def title(self) -> str:
        """Heading of the model's panel."""
        return self.family if self.family == self.model else f"{SAID.get(self.family, self.family)} ({self.model})"


def by_model(frame: pd.DataFrame) -> list[ModelCells]:
    """Returns the cells or rows of each model, in their order."""
    groups = frame.groupby(["family", "model"], sort=False)
    return [ModelCells(str(family), str(model), part) for (family, model), part in groups]


def line_styles(frame: pd.DataFrame, names: pd.Series) -> dict[str, Style]:
    """Returns {line: its look}, in the order of families: a method's own for its first line, others for the rest.

    Args:
        frame: Cells as `bench.reports.sweep.summary.summarise` returns them, or rows as its `finished` does.
        names: Name of the line of each.
    """
    lines = list(dict.fromkeys(zip(frame["method"], names, strict=True)))
    found = list(zip(lines, method_styles(method for method, _ in lines), strict=True))
    found.sort(key=lambda line: _family_order(line[0][0]))
    return {name: style for (_, name), style in found}


def _family_order(method: str) -> int:
    """Returns the place of a method's family in legends."""
    known = family_place(method)
    return FAMILIES.index(known[0] if known is not None else OTHER)


def best_of_families(frame: pd.DataFrame, names: pd.Series) -> list[str]:
    """Returns of each family of methods the line with the highest mean top-1, and CAP's.

    Lines of a family are compared at the models and sparsities that all of them have; where there are none, by all of
    theirs.

    Args:
        frame: Cells of a summary.
        names: Name of the line of each.
    """
    phase = next(phase for phase in PHASES if frame[f"{phase}_n"].notna().any())
    cells = frame.assign(line=names, family=frame["method"].map(_family_order))
    own = cells.loc[cells["method"] == CAP, "line"].head(1)
    best = []
    for _, part in cells.groupby("family"):
        top1 = part.pivot_table(index=["model", "sparsity"], columns="line", values=f"{phase}_mean", sort=False)
        shared = top1.dropna()
        best.append(str((shared if len(shared) else top1).mean().idxmax()))
    return list(dict.fromkeys([*best, *own]))


def panels(count: int, width: float = PANEL[0], height: float = PANEL[1]) -> tuple[Figure, list[Axes]]:
    """Makes a figure of panels, in as many rows as it takes.

    Args:
        count: Number of panels.
        width: Width of a panel, inches.
        height: Height of a panel, inches.
    """
    rows = ceil(count / max(1, int(WIDTH / width)))
    columns = ceil(count / rows)
    size = (max(5, width * columns + 0.4), height * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def label_heights(axes: list[Axes], text: str) -> None:
    """Labels the vertical axis of the first panel in each row."""
    for axis in axes:
        place = axis.get_subplotspec()
        if place is not None and place.is_first_col():
            axis.set_ylabel(text)


def finish(figure: Figure, axes: list[Axes], title: str, stem: Path, note: str = "") -> list[Path]:
    """Puts a heading above and one legend for all panels below, with room for it, and writes the figure.

    Args:
        figure: The figure.
        axes: Panels with entries for the legend.
        title: Heading.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    entries = legend_entries(axes)
    width, height = figure.get_size_inches()
    longest = max(map(len, entries), default=1)
    columns = max(1, min(LEGEND_COLUMNS, len(entries), int(width / (0.08 * longest + 0.55))))
    below = LEGEND_LINE * (ceil(len(entries) / columns) + bool(note)) + 0.15
    height += below
    figure.set_size_inches(width, height)
    figure.suptitle(title, y=1 - HEADING / height)
    if entries:
        legend(figure, entries, columns, bottom=LEGEND_LINE * bool(note) / height)
    if note:
        figure.text(0.5, 0.08 / height, note, ha="center", fontsize=8)
    figure.tight_layout(rect=(0, below / height, 1, 1))
    return save(figure, stem)


def split_controls(summary: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the cells of the dense models after a training, and those of pruned models."""
    control = summary["method"] == UNPRUNED
    return summary[control], summary[~control]


def control_of(controls: pd.DataFrame, model: str) -> pd.Series:
    """Returns the top-1 of a dense model after each training.

    Args:
        controls: Cells of the dense models, see `split_controls`.
        model: Name of the model.
    """
    return controls.loc[controls["model"] == model, "finetuned_mean"].dropna()


def draw_dense(axis: Axes, cells: pd.DataFrame, upright: bool = False) -> None:
    """Draws the accuracy of the dense model of these cells, and what 1 % relative below it is.

    Args:
        axis: Panel to draw in.
        cells: Cells of one model.
        upright: Whether the accuracy is on the horizontal axis.
    """
    across = axis.axvline if upright else axis.axhline
    dense = cells["dense"].iloc[0]
    across(dense, color="black", linewidth=1, label="dense")
    across(0.99 * dense, color="black", linewidth=1, linestyle=":", label="1 % relative drop")
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)


def draw_control(axis: Axes, control: pd.Series, upright: bool = False) -> None:
    """Draws the accuracy of the dense model after each training, see `control_of`; `upright` as in `draw_dense`."""
    across = axis.axvline if upright else axis.axhline
    for top1 in control:
        across(top1, color="black", linewidth=1, linestyle="-.", label="dense after the same training")


def draw_line(axis: Axes, x: pd.Series, points: pd.DataFrame, phase: str, style: Style, name: str, dash: str) -> None:
    """Draws the means of a phase, with their standard deviations, joined by a line.

    Args:
        axis: Panel to draw in.
        x: Place of each point.
        points: Cells of a summary.
        phase: Name of the phase.
        style: Colour and marker, whose dash does not count.
        name: Text in the legend.
        dash: Line style of matplotlib.
    """
    color, marker, _ = style
    axis.errorbar(
        x,
        points[f"{phase}_mean"],
        yerr=points[f"{phase}_std"].fillna(0),
        color=color,
        marker=marker,
        markersize=4,
        linestyle=dash,
        linewidth=1.3,
        capsize=2,
        label=name,
    )
