"""Results as figures. Reads parquet alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import ceil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.tables import PHASES, finished, series, summarise
from bench.variants import NM, Settings, base_of, numeric, pattern_in_words, scans, value_text

Style = tuple[str, str]
STYLES: dict[str, Style] = {  # of methods: colour and marker
    "GM": ("#7f7f7f", "s"),
    "UM": ("#111111", "x"),
    "magnitude": ("#7f7f7f", "s"),
    "GrW": ("#bcbd22", "v"),
    "WF": ("#1f77b4", "^"),
    "WF-1": ("#17becf", "<"),
    "M-FAC": ("#9467bd", "D"),
    "CAP": ("#d62728", "o"),
    "FastCAP": ("#ff7f0e", "P"),
    "Wanda": ("#8c564b", ">"),
    "SparseGPT": ("#2ca02c", "h"),
    "OBC": ("#e377c2", "X"),
}
OTHERS = [(color, marker) for marker in "*pd" for color in ("#003f5c", "#58a618", "#ffb000", "#7a5195", "#00a6a6")]
DASHES = ("-", "--", ":", "-.")
PER_ROW = 4  # panels
LEGEND_COLUMNS = 8
SHORT_AXIS = 10  # ratio of largest to smallest from which on an axis is logarithmic


def figures(rows: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws the figures that these rows have something for.

    Options that were tried at three or more values get a panel each; otherwise there are curves over the sparsity, and
    bars for N:M patterns. Where the increase of the calibration loss was both predicted and observed, one is drawn
    against the other, under the name `<stem>_loss`.

    Args:
        rows: Result rows, as `bench.store` describes them.
        title: Heading of the figures.
        stem: Path without suffix.

    Returns:
        The files written.
    """
    summary = summarise(rows)
    groups = summary["kind"] == NM
    written: list[Path] = []
    if any(len(values) > 2 and numeric(_values(option, values)) for (_, option), values in scans(summary).items()):
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


def _styles(frame: pd.DataFrame) -> dict[str, Style]:
    """Returns colour and marker of every series: a method's own, or where it has variants one for each of them."""
    free, found = iter(OTHERS * len(frame)), {}
    lines = frame.assign(series=series(frame)).drop_duplicates("series")
    for _, line in lines.iterrows():
        alone = (lines["method"] == line["method"]).sum() == 1
        first = line["rank"] == lines.loc[lines["method"] == line["method"], "rank"].min()
        known = line["method"] in STYLES and (alone or first)
        found[line["series"]] = STYLES[line["method"]] if known else next(free)
    return found


def _models(summary: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Returns family, model and cells of each."""
    groups = summary.groupby(["family", "model"], sort=False)
    return [(str(family), str(model), part) for (family, model), part in groups]


def _panels(count: int, width: float = 3.6, height: float = 3.3) -> tuple[Figure, list[Axes]]:
    """Makes a figure of so many panels, in as many rows as it takes."""
    rows = ceil(count / PER_ROW)
    columns = ceil(count / rows)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns + 0.4, height * rows + 0.7), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def _finish(figure: Figure, axes: list[Axes], title: str, stem: Path, note: str = "") -> list[Path]:
    """Puts heading and one legend for all panels around them, and writes the figure."""
    entries = {text: h for axis in axes for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    width, height = figure.get_size_inches()
    longest = max(map(len, entries), default=1)
    columns = max(1, min(LEGEND_COLUMNS, len(entries), int(width / (0.085 * longest + 0.5))))
    lines = ceil(len(entries) / columns) + bool(note)
    figure.suptitle(title)
    figure.legend(entries.values(), entries.keys(), loc="lower center", ncols=columns, frameon=False,
                  bbox_to_anchor=(0.5, 0.2 / height if note else 0))  # fmt: skip
    if note:
        figure.text(0.5, 0.05 / height, note, ha="center", fontsize=8)
    figure.tight_layout(rect=(0, (0.22 * lines + 0.15) / height, 1, 1))
    return save(figure, stem)


def _name(family: str, model: str) -> str:
    return family if family == model else f"{family} ({model})"


def accuracy_curves(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy against sparsity, one panel per model, and if nothing was trained a panel with the fits' times.

    Args:
        summary: As `bench.tables.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    models, styles = _models(summary), _styles(summary)
    phases = [phase for phase in PHASES if summary[f"{phase}_n"].notna().any()]
    timed = "finetuned" not in phases and summary["fit_seconds"].notna().any() and len(styles) > 1
    figure, axes = _panels(len(models) + timed)
    for axis, (family, model, part) in zip(axes, models, strict=False):
        _dense(axis, part)
        for name, curve in part.groupby(series(part), sort=False):
            for phase in phases:
                _curve(axis, curve, phase, styles[str(name)], f"{name} {PHASES[phase]}", phase != phases[0])
        axis.set_title(_name(family, model))
        axis.set_xlabel("sparsity of the pruned layers, %")
        axis.set_ylabel("top-1, %")
    if timed:
        _fit_times(axes[-1], models, styles)
    return _finish(figure, axes, title, stem)


def _dense(axis: Axes, part: pd.DataFrame) -> None:
    dense = part["dense"].iloc[0]
    axis.axhline(dense, color="black", linewidth=1, label="dense")
    axis.axhline(0.99 * dense, color="black", linewidth=1, linestyle=":", label="1 % relative drop")
    axis.grid(alpha=0.3)


def _curve(axis: Axes, curve: pd.DataFrame, phase: str, style: Style, name: str, second: bool) -> None:
    """Draws the points of a phase; those of a second one in the panel are hollow and joined by dashes."""
    points = curve[curve[f"{phase}_n"].notna()]
    if points.empty:
        return
    color, marker = style
    axis.errorbar(
        100 * points["sparsity"],
        points[f"{phase}_mean"],
        yerr=points[f"{phase}_std"].fillna(0),
        color=color,
        marker=marker,
        markersize=4,
        markerfacecolor="white" if second else color,
        linestyle="--" if second else "-",
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
    if max(shown) > SHORT_AXIS * min(shown):
        axis.set_yscale("log")
    axis.set_xticks(range(len(models)), [model for _, model, _ in models])
    axis.set_title("time of the fit")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3, axis="y")


def pattern_bars(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy at N:M patterns, one panel per model: bars one-shot, diamonds fine-tuned.

    Args:
        summary: As `bench.tables.summarise` returns it, cells of N:M patterns alone.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    models, styles = _models(summary), _styles(summary)
    patterns = list(dict.fromkeys(summary.sort_values(["sparsity", "pattern"])["pattern"]))
    width = 0.84 / len(styles)
    figure, axes = _panels(len(models), width=max(3.6, 0.28 * len(styles) * len(patterns)))
    for axis, (family, model, part) in zip(axes, models, strict=True):
        _dense(axis, part)
        for number, (name, (color, _)) in enumerate(styles.items()):
            bars = part[series(part) == name]
            places = [patterns.index(p) + (number - (len(styles) - 1) / 2) * width for p in bars["pattern"]]
            drawn = axis.bar(places, bars["one_shot_mean"], 0.92 * width, yerr=bars["one_shot_std"].fillna(0),
                             color=color, error_kw={"linewidth": 0.8}, label=f"{name} one-shot")  # fmt: skip
            axis.bar_label(drawn, fmt=lambda value: f"{value:.1f}" if value == value else "", label_type="center",
                           rotation=90, fontsize=7, color="white")  # fmt: skip
            if bars["finetuned_n"].notna().any():
                axis.errorbar(places, bars["finetuned_mean"], yerr=bars["finetuned_std"].fillna(0), fmt="D",
                              color="black", markerfacecolor="white", markersize=4, linewidth=0.8,
                              label="fine-tuned")  # fmt: skip
        axis.set_xticks(range(len(patterns)), patterns)
        axis.set_title(_name(family, model))
        axis.set_ylabel("top-1, %")
    return _finish(figure, axes, title, stem)


def option_panels(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy against each option that was varied, one panel for each and model; rings mark the base.

    Args:
        summary: As `bench.tables.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    found = scans(summary)
    options = list(dict.fromkeys(option for _, option in found))
    models = _models(summary)
    phase = next(phase for phase in PHASES if summary[f"{phase}_n"].notna().any())
    patterns = list(dict.fromkeys(summary["pattern"]))
    figure, axes = _panels(len(models) * len(options))
    panels = [(model, option) for model in models for option in options]
    for axis, ((family, model, part), option) in zip(axes, panels, strict=True):
        lines = {method: settings for (method, varied), settings in found.items() if varied == option}
        position = _scale(axis, [values.get(option) for settings in lines.values() for values in settings])
        for method, settings in lines.items():
            base = base_of([json.loads(text) for text in summary.loc[summary["method"] == method, "settings"].unique()])
            color, marker = STYLES.get(method, OTHERS[list(lines).index(method)])
            for pattern, dash in zip(patterns, DASHES * len(patterns), strict=False):
                cells = part[(part["method"] == method) & (part["pattern"] == pattern)]
                cells = cells[cells["settings"].isin([json.dumps(values) for values in settings])]
                cells = cells.assign(value=[json.loads(text).get(option) for text in cells["settings"]])
                cells = cells.assign(place=cells["value"].map(position)).sort_values("place")
                axis.errorbar(cells["place"], cells[f"{phase}_mean"], yerr=cells[f"{phase}_std"].fillna(0), color=color,
                              marker=marker, markersize=4, linestyle=dash, linewidth=1.3, capsize=2,
                              label=f"{method} {pattern_in_words(pattern)}")  # fmt: skip
                center = cells[cells["settings"] == json.dumps(base)]
                axis.plot(center["place"], center[f"{phase}_mean"], "o", markersize=9, color=color,
                          markerfacecolor="none")  # fmt: skip
        axis.set_title(option if len(models) == 1 else f"{_name(family, model)}: {option}")
        axis.set_xlabel(option)
        axis.set_ylabel(f"{PHASES[phase]} top-1, %")
        axis.grid(alpha=0.3)
    handle = Line2D([], [], marker="o", linestyle="", markersize=9, color="black", markerfacecolor="none", label="base")
    axes[0].add_line(handle)
    return _finish(figure, axes, title, stem)


def _scale(axis: Axes, values: list) -> Callable[[object], float]:
    """Sets up a horizontal axis for an option's values: logarithmic where they span decades, else even or by name."""
    if numeric(values):
        known = sorted(set(values))
        if known[0] > 0 and known[-1] >= SHORT_AXIS * known[0]:
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
        done: As `bench.tables.finished` returns it.
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
    styles, models = _styles(points.sort_values(["method", "rank"])), _models(points)
    figure, axes = _panels(len(models))
    for axis, (family, model, part) in zip(axes, models, strict=True):
        ends = [part[[predicted, observed]].min().min(), part[[predicted, observed]].max().max()]
        axis.loglog(ends, ends, color="black", linewidth=1, linestyle=":", label="observed as predicted")
        for name, cells in part.groupby(series(part), sort=False):
            color, marker = styles[str(name)]
            axis.scatter(cells[predicted], cells[observed], s=16, c=color, marker=marker, alpha=0.7, linewidths=0.8,
                         label=name)  # fmt: skip
        axis.set_title(_name(family, model))
        axis.set_xlabel("predicted increase of the loss")
        axis.set_ylabel("observed")
        axis.grid(alpha=0.3)
    left = len(both) - len(points)
    note = f"{left} of {len(both)} points are not shown: one of the two is not above zero" if left else ""
    return _finish(figure, axes, f"{title}: calibration loss, one-shot", stem, note)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Writes a figure as PNG and SVG and closes it; the same figure gives the same files.

    Args:
        figure: The figure.
        stem: Path without suffix.

    Returns:
        The files written.
    """
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    with plt.rc_context({"svg.hashsalt": stem.name}):  # neither a date nor random ids
        figure.savefig(paths[0], dpi=150)
        figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
