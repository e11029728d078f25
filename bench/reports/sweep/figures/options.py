"""Accuracy against each option that was varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.reports.common.plotting import DASHES, method_styles
from bench.reports.sweep.figures.panels import DECADE, by_model, draw_line, finish, label_heights, panels
from bench.reports.sweep.summary import representative
from bench.results.labels import PHASES, pattern_in_words
from bench.results.settings import Settings, numeric, value_text
from bench.results.variants import baselines_of, option_sweeps

MANY_PATTERNS = 5
RING: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 9, "markerfacecolor": "none"}


def has_option_curves(summary: pd.DataFrame) -> bool:
    """Returns whether a numeric option was tried at three or more values."""
    return any(
        len(settings) > 2 and numeric(values.get(option) for values in settings)
        for (_, option), settings in option_sweeps(summary).items()
    )


def option_panels(summary: pd.DataFrame, title: str, stem: Path, note: str = "") -> list[Path]:
    """Draws accuracy against each option that was varied, one panel for each and model; rings mark the base.

    Each panel has a scale of its own: what one option costs would hide what another does.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.
        note: Line below the legend.

    Returns:
        The files written: PNG and SVG.
    """
    swept, baselines, models = option_sweeps(summary), baselines_of(summary), by_model(summary)
    options = list(dict.fromkeys(option for _, option in swept))
    phase = next(phase for phase in PHASES if summary[f"{phase}_n"].notna().any())
    if summary["pattern"].nunique() >= MANY_PATTERNS:
        summary = summary[summary["sparsity"].isin(representative(summary["sparsity"]))]
    dashes = dict(zip(summary["pattern"].unique(), DASHES * len(summary), strict=False))
    styles = dict(zip(baselines, method_styles(baselines), strict=True))
    figure, axes = panels(len(models) * len(options))
    for number, axis in enumerate(axes):
        model, option = models[number // len(options)], options[number % len(options)]
        lines = {method: settings for (method, varied), settings in swept.items() if varied == option}
        position = _scale(axis, [values.get(option) for settings in lines.values() for values in settings])
        for method, settings in lines.items():
            style = styles[method]
            varied = _varied(model.cells, method, option, settings, position)
            for pattern, dash in dashes.items():
                points = varied[varied["pattern"] == pattern].sort_values("place")
                text = f"{method} {pattern_in_words(pattern)}"
                draw_line(axis, points["place"], points, phase, style, text, dash)
                if (baseline := baselines[method]) is not None:
                    base = points[points["settings"] == baseline.to_json()]
                    axis.plot(base["place"], base[f"{phase}_mean"], **RING, color=style.color)
        axis.set_title(model.title)
        axis.set_xlabel(option)
        axis.grid(alpha=0.3)
    label_heights(axes, f"{PHASES[phase]} top-1, %")
    if any(baselines.values()):
        axes[0].add_line(Line2D([], [], **RING, color="black", label="base"))
    return finish(figure, axes, title, stem, note)


def _varied(
    cells: pd.DataFrame, method: str, option: str, settings: Sequence[Settings], position: Callable[[object], float]
) -> pd.DataFrame:
    """Returns the cells of a method that differ in one option, with their place on the axis."""
    found = cells[(cells["method"] == method) & cells["settings"].isin([values.to_json() for values in settings])]
    return found.assign(place=[position(Settings.from_json(text).get(option)) for text in found["settings"]])


def _scale(axis: Axes, values: list) -> Callable[[object], float]:
    """Sets up a horizontal axis for an option's values: logarithmic where they span decades, else even or by name."""
    if numeric(values):
        known = sorted(set(values))
        if known[0] > 0 and known[-1] >= DECADE * known[0]:
            axis.set_xscale("log")
        axis.set_xticks(known, [value_text(value) for value in known], fontsize=8)
        axis.minorticks_off()
        return float  # type: ignore[return-value]
    names = list(dict.fromkeys(value_text(value) for value in values))
    axis.set_xticks(range(len(names)), names)
    return lambda value: names.index(value_text(value))
