"""Accuracy against sparsity, and the times of fitting and reading off."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from bench.reports.common.plotting import DASHES, Style
from bench.reports.sweep.figures.panels import (
    DECADE,
    LARGE,
    MANY,
    PANEL,
    ModelCells,
    by_model,
    control_of,
    draw_control,
    draw_dense,
    draw_line,
    finish,
    label_heights,
    line_styles,
    panels,
    split_controls,
)
from bench.reports.sweep.summary import series
from bench.results.labels import PHASES

FEW = 4  # lines up to which phases are drawn in one panel
FOCUS = 0.8  # share of the dense accuracy at which a panel may end, where its best line does not go below
CUT = "lines that leave a panel go on below it"


def accuracy_curves(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy against sparsity, a panel a model, and if nothing was trained one with the times.

    Phases are lines of a panel where there are few, else they have panels of their own. The dense model after the
    same training is a line across. Of up to MANY lines a panel shows the heights in which the best ones differ; of
    more, all.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
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
    phases = [phase for phase in PHASES if cells[f"{phase}_n"].notna().any()]
    timed = "finetuned" not in phases and cells["fit_seconds"].notna().any() and len(styles) > 1
    together = len(phases) == 1 or len(phases) * len(styles) <= FEW
    shown = [(part, model) for part in ([phases] if together else [[phase] for phase in phases]) for model in models]
    figure, axes = panels(len(shown) + timed, *(LARGE if len(styles) > MANY else PANEL))
    cut = False
    for axis, (part, model) in zip(axes, shown, strict=False):
        draw_dense(axis, model.cells)
        control = control_of(controls, model.model)
        if "finetuned" in part:
            draw_control(axis, control)
        for name, style in styles.items():
            _draw_phases(axis, model.cells[names.loc[model.cells.index] == name], part, name, style)
        cut |= len(styles) <= MANY and _focus(axis, model.cells, control, part)
        axis.set_title(model.title if together else f"{model.title}, {PHASES[part[0]]}")
        axis.set_xlabel("sparsity of the pruned layers, %")
        if not together:  # not all sparsities may have all phases
            low, high = 100 * model.cells["sparsity"].min(), 100 * model.cells["sparsity"].max()
            axis.set_xlim(low - 0.05 * (high - low) - 0.5, high + 0.05 * (high - low) + 0.5)
    label_heights(axes, "top-1, %" if len(phases) > 1 else f"{PHASES[phases[0]]} top-1, %")
    if timed:
        _pruning_times(axes[-1], models, styles)
    return finish(figure, axes, title, stem, "; ".join(filter(None, (note, CUT if cut else ""))))


def _draw_phases(axis: Axes, curve: pd.DataFrame, phases: list[str], name: str, style: Style) -> None:
    """Draws the line of a pruner; of several phases one each, told apart by dashes."""
    for place, phase in enumerate(phases):
        points = curve[curve[f"{phase}_n"].notna()]
        text, look = name, style
        if len(phases) > 1:
            text, look = f"{name} {PHASES[phase]}", style._replace(dash=DASHES[place % len(DASHES)])
        if len(points):
            draw_line(axis, 100 * points["sparsity"], points, phase, look, text, look.dash)


def _focus(axis: Axes, cells: pd.DataFrame, control: pd.Series, phases: list[str]) -> bool:
    """Ends a panel where no line that is the best somewhere goes, and returns whether others go on below."""
    top1 = cells[[f"{phase}_mean" for phase in phases]]
    best = top1.groupby(cells["sparsity"]).max().min(axis=None)
    dense = cells["dense"].iloc[0]
    bottom = min(FOCUS * dense, best - 0.1 * (dense - best))
    if not top1.min(axis=None) < bottom:
        return False
    errors = cells[[f"{phase}_std" for phase in phases]].fillna(0).set_axis(top1.columns, axis=1)
    top = max(dense, (top1 + errors).max(axis=None), *control)
    axis.set_ylim(bottom, top + 0.05 * (top - bottom))
    return True


def _pruning_times(axis: Axes, models: list[ModelCells], styles: dict[str, Style]) -> None:
    """Draws how long fitting and reading off the weights of one pattern took, as dots, in groups by model."""
    width = 0.8 / len(styles)
    shown = []
    for place, model in enumerate(models):
        seconds = model.cells["fit_seconds"] + model.cells["prune_seconds"].fillna(0)
        times = seconds.groupby(series(model.cells)).mean()
        for number, (name, (color, marker, _)) in enumerate(styles.items()):
            if name in times and times[name] == times[name]:
                x = place + (number - (len(styles) - 1) / 2) * width
                axis.plot(x, times[name], linestyle="", color=color, marker=marker, markersize=5)
                shown.append(times[name])
    if max(shown) > DECADE * min(shown):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
    axis.set_xticks(range(len(models)), [model.model for model in models])
    axis.set_title("time of fit and prune, one pattern")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3, axis="y")
