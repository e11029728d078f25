"""Figure of a comparison of pruners: top-1, paired differences and time of pruning against sparsity."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from bench.reports.common.plotting import Style, legend, legend_entries, method_styles, save
from bench.results.labels import GLOBAL, PHASES, kind
from bench.results.validity import INVALID

OWN = "the new pruner"  # no label of a registered method
ROOM = 0.15  # that a label takes of the axis


def draw(
    cells: pd.DataFrame, times: pd.DataFrame, new: str, against: Sequence[str], title: str, stem: Path
) -> list[Path]:
    """Draws top-1 and paired differences against sparsity, a column for each model and a row pair for each phase.

    Below stands the time of pruning: points for fit and prune together, dashes for the fit alone.

    Args:
        cells: Compared cells, as `bench.reports.comparison.statistics.compare` returns them.
        times: Costs, as `bench.reports.comparison.costs.costs` returns them.
        new: Label of the pruner to compare.
        against: Labels of the others.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    models, phases = list(dict.fromkeys(cells["model"])), list(dict.fromkeys(cells["phase"]))
    styles = _styles(new, against)
    positions, ticks = pattern_positions(cells)
    figure, axes = plt.subplots(
        2 * len(phases) + 1, len(models), sharex=True, squeeze=False,
        figsize=(3.6 * len(models) + 1.6, 5 * len(phases) + 3.3),
    )  # fmt: skip
    for row, phase in enumerate(phases):
        for column, model in enumerate(models):
            part = cells[(cells["model"] == model) & (cells["phase"] == phase)]
            part = part.assign(x=part["pattern"].map(positions))
            top, below = axes[2 * row][column], axes[2 * row + 1][column]
            _draw_accuracies(top, part, styles)
            width = max(positions.values()) - min(positions.values())
            _draw_differences(below, part, {name: styles[name] for name in against}, width)
            top.set_title(f"{model}, {PHASES[phase]}")
        axes[2 * row][0].set_ylabel("top-1, %")
        axes[2 * row + 1][0].set_ylabel(f"{new} less the other, points")
    for axis, model in zip(axes[-1], models, strict=True):
        part = times[times["model"] == model]
        _draw_times(axis, part.assign(x=part["pattern"].map(positions)), styles)
        axis.set_xlabel("sparsity of the pruned layers, or pattern")
    axes[-1][0].set_ylabel("fit + prune, s (dash: fit)")
    for axis in axes.flat:
        axis.set_xticks(list(positions.values()), labels=ticks)
        axis.tick_params(labelbottom=True)
        axis.grid(alpha=0.3)
    if left := int((cells["status"] == INVALID).sum()):
        title = f"{title}; {left} invalid points are not shown"
    figure.suptitle(title)
    legend(figure, legend_entries([*axes[-1], *axes[0]]), columns=8)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight() + 0.02, 1, 1))
    return save(figure, stem)


def _styles(new: str, against: Sequence[str]) -> dict[str, Style]:
    """Returns each pruner's look: the new one has its own, the others those of all figures."""
    own, *others = method_styles([OWN, *against])
    return {new: own, **dict(zip(against, others, strict=True))}


def _draw_accuracies(axis: Axes, part: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draws each pruner's mean top-1 with its standard deviation, and the dense model's."""
    axis.axhline(part["top1_dense"].mean(), color="black", linewidth=1, label="dense")
    for name, (color, marker, _) in styles.items():
        curve = part[(part["label"] == name) & (part["status"] == "done")]
        for number, (_, points) in enumerate(curve.groupby(curve["pattern"].map(kind), sort=False)):
            axis.errorbar(
                points["x"], points["top1_mean"], yerr=points["top1_std"].fillna(0), color=color, marker=marker,
                markersize=4, linewidth=1.3, capsize=2, label=name if number == 0 else None,
            )  # fmt: skip


def _draw_differences(axis: Axes, part: pd.DataFrame, styles: Mapping[str, Style], width: float) -> None:
    """Draws differences with their intervals side by side; points alone where one seed gives no interval."""
    axis.axhline(0, color="black", linewidth=1)
    step = 0.02 * (width or 1)
    if part["difference"].abs().max() > 10:  # small differences must be seen beside large ones
        axis.set_yscale("symlog", linthresh=1)
        axis.yaxis.set_major_formatter("{x:g}")
    for number, (name, (color, marker, _)) in enumerate(styles.items()):
        points = part[(part["label"] == name) & (part["pairs"] > 0)]
        axis.errorbar(
            points["x"] + step * (number - (len(styles) - 1) / 2), points["difference"],
            yerr=(points["high"] - points["difference"]).fillna(0), color=color, marker=marker, markersize=4,
            linestyle="none", capsize=2,
        )  # fmt: skip


def _draw_times(axis: Axes, part: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draws each pruner's time of fit and prune at every pattern, and that of the fit alone."""
    for name, (color, marker, _) in styles.items():
        points = part[(part["label"] == name) & part["x"].notna()]
        axis.plot(
            points["x"], points["total_seconds"], color=color, marker=marker, markersize=4, linestyle="none", label=name
        )
        axis.plot(points["x"], points["fit_seconds"], color=color, marker="_", markersize=9, linestyle="none")
    if (part["total_seconds"] > 0).all() and len(part):
        axis.set_yscale("log")


def pattern_positions(cells: pd.DataFrame) -> tuple[dict[str, float], list[str]]:
    """Returns the position of each pattern on the horizontal axis, and the labels of these.

    Patterns of one kind stand at their sparsities in percent if the labels have room there, others side by side.

    Args:
        cells: Compared cells, of which `pattern` and `sparsity` are read.
    """
    patterns = cells[["pattern", "sparsity"]].drop_duplicates()
    kinds = patterns["pattern"].map(kind)
    patterns = patterns.loc[sorted(patterns.index, key=lambda place: (kinds[place] != GLOBAL, kinds[place]))]
    names, percent = list(patterns["pattern"]), [100 * sparsity for sparsity in patterns["sparsity"]]
    gaps = [high - low for low, high in itertools.pairwise(percent)]
    if kinds.nunique() == 1 and all(gap >= ROOM * (percent[-1] - percent[0]) and gap for gap in gaps):
        ticks = [f"{value:g} %" if kind(name) == GLOBAL else name for name, value in zip(names, percent, strict=True)]
        return dict(zip(names, percent, strict=True)), ticks
    return {name: float(place) for place, name in enumerate(names)}, names
