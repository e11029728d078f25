"""Results as figures. Reads parquet alone."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.tables import label

STYLES = {"magnitude": ("#7f7f7f", "s"), "woodfisher": ("#1f77b4", "^"), "cap": ("#d62728", "o")}
OTHERS = [(color, "D") for color in ("#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf")]


def _style(pruner: str, others: list[str]) -> tuple[str, str]:
    return STYLES.get(pruner) or OTHERS[others.index(pruner) % len(OTHERS)]


def accuracy_curves(summary: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws accuracy against sparsity, one panel per model.

    Args:
        summary: As `bench.tables.summarise` returns it.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    models = list(summary[["family", "model"]].drop_duplicates().itertuples(index=False))
    others = sorted(set(summary["pruner"]) - set(STYLES))
    figure, axes = plt.subplots(1, len(models), figsize=(3.6 * len(models) + 0.4, 4), squeeze=False)
    for axis, (family, model) in zip(axes[0], models, strict=True):
        part = summary[(summary["family"] == family) & (summary["model"] == model)]
        _panel(axis, part, others)
        axis.set_title(family if family == model else f"{family} ({model})")
        axis.set_xlabel("sparsity of the pruned layers, %")
    axes[0][0].set_ylabel("top-1, %")
    entries = {text: h for axis in axes[0] for h, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.suptitle(title)
    figure.legend(entries.values(), entries.keys(), loc="lower center", ncols=min(8, len(entries)), frameon=False)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    return save(figure, stem)


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


def _panel(axis: Axes, part: pd.DataFrame, others: list[str]) -> None:
    dense = part["dense"].iloc[0]
    axis.axhline(dense, color="black", linewidth=1, label="dense")
    axis.axhline(0.99 * dense, color="black", linewidth=1, linestyle=":", label="1 % relative drop")
    for pruner, curve in part.groupby("pruner", sort=False):
        color, marker = _style(str(pruner), others)
        for phase, line, name in (("one_shot", "-", "one-shot"), ("finetuned", "--", "fine-tuned")):
            points = curve[curve[f"{phase}_n"].notna()]
            if not points.empty:
                axis.errorbar(
                    100 * points["sparsity"],
                    points[f"{phase}_mean"],
                    yerr=points[f"{phase}_std"].fillna(0),
                    color=color,
                    marker=marker,
                    markersize=4,
                    markerfacecolor=color if phase == "one_shot" else "white",
                    linestyle=line,
                    linewidth=1.3,
                    capsize=2,
                    label=f"{label(str(pruner))} {name}",
                )
    axis.grid(alpha=0.3)
