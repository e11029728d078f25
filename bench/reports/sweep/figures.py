"""Results as figures. Reads parquet alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.reports.common.plotting import OTHERS, STYLES, Style, legend, legend_entries, save
from bench.reports.sweep.summary import finished, representative, series, summarise
from bench.results.labels import (
    NM,
    PHASES,
    Settings,
    baselines_of,
    method_order,
    numeric,
    option_sweeps,
    pattern_in_words,
    value_text,
)

DASHES = ("-", "--", ":", "-.")
PANEL = (3.6, 3.3)  # width and height, inches
WIDTH = 15  # inches that panels may take side by side
LEGEND_COLUMNS, LEGEND_LINE = 8, 0.22  # inches
DECADE = 10  # ratio of largest to smallest from which on an axis is logarithmic
MANY_PATTERNS = 5
RING: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 9, "markerfacecolor": "none"}


def figures(rows: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws the figures that these rows have something for.

    Options that were tried at three or more values get a panel each; otherwise there are curves over the sparsity, and
    bars for N:M patterns. Where the increase of the calibration loss was both predicted and observed, one is drawn
    against the other, under the name `<stem>_loss`.

    Args:
        rows: Result rows, as `bench.results.store` describes them.
        title: Heading of the figures.
        stem: Path without suffix.

    Returns:
        The files written.
    """
    summary = summarise(rows)
    groups = summary["kind"] == NM
    written: list[Path] = []
    if any(
        len(values) > 2 and numeric(_values(option, values)) for (_, option), values in option_sweeps(summary).items()
    ):
        written += option_panels(summary, title, stem)
    elif not groups.all():
        written += accuracy_curves(summary[~groups], title, stem)
        if groups.any():
            written += pattern_bars(summary[groups], title, stem.with_name(f"{stem.name}_nm"))
    else:
        written += pattern_bars(summary, title, stem)
    return written + loss_scatter(finished(rows), title, stem.with_name(f"{stem.name}_loss"))


def _values(option: str, settings: Iterable[Settings]) -> list:
    return [values.get(option) for values in settings]


def _styles(frame: pd.DataFrame, names: pd.Series) -> dict[str, Style]:
    """Returns colour and marker of every line: a method's own for its first one, others for the rest.

    Args:
        frame: Cells as `bench.reports.sweep.summary.summarise` returns them, or rows as its `finished` does.
        names: What the line of each is called.
    """
    free, taken, found = iter(OTHERS * len(frame)), set(), {}
    for method, name in dict.fromkeys(zip(frame["method"], names, strict=True)):
        found[name] = next(free) if method in taken or method not in STYLES else STYLES[method]
        taken.add(method)
    return found


def _models(summary: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Returns family, model and cells of each."""
    groups = summary.groupby(["family", "model"], sort=False)
    return [(str(family), str(model), part) for (family, model), part in groups]


def _panels(count: int, width: float = PANEL[0]) -> tuple[Figure, list[Axes]]:
    """Makes a figure of so many panels, in as many rows as it takes."""
    rows = ceil(count / max(1, int(WIDTH / width)))
    columns = ceil(count / rows)
    size = (max(5, width * columns + 0.4), PANEL[1] * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def _name_heights(axes: list[Axes], text: str) -> None:
    """Labels the vertical axis of the first panel in each row."""
    for axis in axes:
        place = axis.get_subplotspec()
        if place is not None and place.is_first_col():
            axis.set_ylabel(text)


def _finish(figure: Figure, axes: list[Axes], title: str, stem: Path, note: str = "") -> list[Path]:
    """Puts a heading above and one legend for all panels below, with room for it, and writes the figure."""
    entries = legend_entries(axes)
    width, height = figure.get_size_inches()
    longest = max(map(len, entries), default=1)
    columns = max(1, min(LEGEND_COLUMNS, len(entries), int(width / (0.08 * longest + 0.55))))
    below = LEGEND_LINE * (ceil(len(entries) / columns) + bool(note)) + 0.15
    height += below
    figure.set_size_inches(width, height)
    figure.suptitle(title)
    legend(figure, entries, columns, bottom=LEGEND_LINE * bool(note) / height)
    if note:
        figure.text(0.5, 0.08 / height, note, ha="center", fontsize=8)
    figure.tight_layout(rect=(0, below / height, 1, 1))
    return save(figure, stem)


def _name(family: str, model: str) -> str:
    return family if family == model else f"{family} ({model})"


def accuracy_curves(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy against sparsity, one panel per model, and if nothing was trained a panel with the fits' times.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    names = series(summary)
    models, styles = _models(summary), _styles(summary, names)
    phases = [phase for phase in PHASES if summary[f"{phase}_n"].notna().any()]
    timed = "finetuned" not in phases and summary["fit_seconds"].notna().any() and len(styles) > 1
    figure, axes = _panels(len(models) + timed)
    for axis, (family, model, part) in zip(axes, models, strict=False):
        _dense(axis, part)
        for name, curve in part.groupby(names, sort=False):
            for phase in phases:
                points, place = curve[curve[f"{phase}_n"].notna()], phases.index(phase)
                text = f"{name} {PHASES[phase]}" if len(phases) > 1 else str(name)
                if len(points):
                    x, style = 100 * points["sparsity"], styles[str(name)]
                    _line(axis, x, points, phase, style, text, DASHES[place], hollow=place > 0)
        axis.set_title(_name(family, model))
        axis.set_xlabel("sparsity of the pruned layers, %")
    _name_heights(axes, "top-1, %" if len(phases) > 1 else f"{PHASES[phases[0]]} top-1, %")
    if timed:
        _fit_times(axes[-1], models, styles)
    return _finish(figure, axes, title, stem)


def _dense(axis: Axes, part: pd.DataFrame) -> None:
    dense = part["dense"].iloc[0]
    axis.axhline(dense, color="black", linewidth=1, label="dense")
    axis.axhline(0.99 * dense, color="black", linewidth=1, linestyle=":", label="1 % relative drop")
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)


def _line(
    axis: Axes, x: pd.Series, points: pd.DataFrame, phase: str, style: Style, name: str, dash: str, hollow: bool = False
) -> None:
    """Draws the means of a phase, with their standard deviations, joined by a line."""
    color, marker = style
    axis.errorbar(
        x,
        points[f"{phase}_mean"],
        yerr=points[f"{phase}_std"].fillna(0),
        color=color,
        marker=marker,
        markersize=4,
        markerfacecolor="white" if hollow else color,
        linestyle=dash,
        linewidth=1.3,
        capsize=2,
        label=name,
    )


def _fit_times(axis: Axes, models: list[tuple[str, str, pd.DataFrame]], styles: dict[str, Style]) -> None:
    """Draws how long the fits took as bars, in groups by model."""
    width = 0.8 / len(styles)
    shown = []
    for place, (_, _, part) in enumerate(models):
        times = part.groupby(series(part))["fit_seconds"].mean()
        for number, (name, (color, _)) in enumerate(styles.items()):
            if name in times and times[name] == times[name]:
                axis.bar(place + (number - (len(styles) - 1) / 2) * width, times[name], width, color=color)
                shown.append(times[name])
    if max(shown) > DECADE * min(shown):
        axis.set_yscale("log")
    axis.set_xticks(range(len(models)), [model for _, model, _ in models])
    axis.set_title("time of the fit")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3, axis="y")


def pattern_bars(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy at N:M patterns, one panel per model: bars one-shot, diamonds fine-tuned.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it, cells of N:M patterns alone.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    names = series(summary)
    models, styles = _models(summary), _styles(summary, names)
    patterns = list(dict.fromkeys(summary.sort_values(["sparsity", "pattern"])["pattern"]))
    width = 0.84 / len(styles)
    tuned = summary["finetuned_n"].notna().any()
    figure, axes = _panels(len(models), width=max(PANEL[0], 0.28 * len(styles) * len(patterns)))
    for axis, (family, model, part) in zip(axes, models, strict=True):
        _dense(axis, part)
        for number, (name, (color, _)) in enumerate(styles.items()):
            bars = part[names.loc[part.index] == name]
            places = [patterns.index(p) + (number - (len(styles) - 1) / 2) * width for p in bars["pattern"]]
            drawn = axis.bar(
                places,
                bars["one_shot_mean"],
                0.92 * width,
                yerr=bars["one_shot_std"].fillna(0),
                color=color,
                error_kw={"linewidth": 0.8},
                label=f"{name} one-shot" if tuned else name,
            )
            axis.bar_label(
                drawn,
                fmt=lambda value: f"{value:.1f}" if value == value else "",
                label_type="center",
                rotation=90,
                fontsize=7,
                color="white",
            )
            axis.errorbar(
                places,
                bars["finetuned_mean"],
                yerr=bars["finetuned_std"].fillna(0),
                fmt="D",
                color="black",
                markerfacecolor="white",
                markersize=4,
                linewidth=0.8,
                label="fine-tuned" if tuned and number == len(styles) - 1 else None,
            )
        axis.set_xticks(range(len(patterns)), patterns)
        axis.set_title(_name(family, model))
    _name_heights(axes, "top-1, %" if tuned else "one-shot top-1, %")
    return _finish(figure, axes, title, stem)


def option_panels(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy against each option that was varied, one panel for each and model; rings mark the base.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    found, bases, models = option_sweeps(summary), baselines_of(summary), _models(summary)
    options = list(dict.fromkeys(option for _, option in found))
    phase = next(phase for phase in PHASES if summary[f"{phase}_n"].notna().any())
    if summary["pattern"].nunique() >= MANY_PATTERNS:
        summary = summary[summary["sparsity"].isin(representative(summary["sparsity"]))]
    dashes = dict(zip(summary["pattern"].unique(), DASHES * len(summary), strict=False))
    figure, axes = _panels(len(models) * len(options))
    for number, axis in enumerate(axes):
        family, model, part = models[number // len(options)]
        option = options[number % len(options)]
        lines = {method: settings for (method, varied), settings in found.items() if varied == option}
        position = _scale(axis, [values.get(option) for settings in lines.values() for values in settings])
        for method, settings in lines.items():
            style = STYLES.get(method, OTHERS[list(bases).index(method) % len(OTHERS)])
            varied = part[(part["method"] == method) & part["settings"].isin(map(json.dumps, settings))]
            varied = varied.assign(place=[position(json.loads(text).get(option)) for text in varied["settings"]])
            for pattern, dash in dashes.items():
                points = varied[varied["pattern"] == pattern].sort_values("place")
                text = f"{method} {pattern_in_words(pattern)}"
                _line(axis, points["place"], points, phase, style, text, dash)
                base = points[points["settings"] == json.dumps(bases[method])]
                axis.plot(base["place"], base[f"{phase}_mean"], **RING, color=style[0])
        axis.set_title(_name(family, model))
        axis.set_xlabel(option)
        axis.grid(alpha=0.3)
        axis.sharey(axes[number - number % len(options)])
    _name_heights(axes, f"{PHASES[phase]} top-1, %")
    if any(bases.values()):
        axes[0].add_line(Line2D([], [], **RING, color="black", label="base"))
    return _finish(figure, axes, title, stem)


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


def loss_scatter(done: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws the observed increase of the calibration loss against the predicted one, one panel per model.

    Args:
        done: As `bench.reports.sweep.summary.finished` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG; none where not both were recorded.
    """
    predicted, observed = "predicted_loss_increase", "observed_loss_increase"
    both = done[(done["phase"] == "one_shot") & done[predicted].notna() & done[observed].notna()]
    points = both[(both[predicted] > 0) & (both[observed] > 0)]
    if points.empty:
        return []
    points = points.sort_values("method", key=lambda methods: methods.map(method_order), kind="stable")
    styles, models = _styles(points, points["name"]), _models(points.sort_index())
    figure, axes = _panels(len(models))
    for axis, (family, model, part) in zip(axes, models, strict=True):
        ends = [part[[predicted, observed]].min().min(), part[[predicted, observed]].max().max()]
        axis.loglog(ends, ends, color="black", linewidth=1, linestyle=":", label="observed as predicted")
        for name, (color, marker) in styles.items():
            cells = part[part["name"] == name]
            axis.scatter(cells[predicted], cells[observed], s=16, c=color, marker=marker, alpha=0.7, linewidths=0.8,
                         label=name)  # fmt: skip
        axis.set_title(_name(family, model))
        axis.set_xlabel("predicted increase of the loss")
        axis.grid(alpha=0.3)
    _name_heights(axes, "observed increase")
    left = len(both) - len(points)
    note = f"{left} of {len(both)} points are not shown: one of the two is not above zero" if left else ""
    return _finish(figure, axes, f"{title}: calibration loss, one-shot", stem, note)
