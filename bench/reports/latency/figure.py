"""Figure of measured speed-ups and the accuracy kept. Reads parquet alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.reports.common.plotting import legend, legend_entries, save
from bench.reports.latency.analysis import sparse_rows
from bench.reports.latency.claim import ALLOWED, CLAIMED

COLORS = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#ff7f0e")  # of batch sizes
PHASE_STYLES: dict[str, tuple[str, str, str]] = {  # of a phase: its name, line and marker's filling
    "one_shot": ("one-shot", "-", "black"),
    "finetuned": ("fine-tuned", "--", "white"),
}


def draw(compared: pd.DataFrame, drops: pd.DataFrame, stem: Path) -> list[Path]:
    """Draws speed-up against sparsity for each model, and below it the accuracy that its family keeps.

    Args:
        compared: Compared rows, as `bench.reports.latency.analysis.analyse` returns them; of several numbers of
            threads the largest counts.
        drops: Losses of accuracy, as `bench.reports.latency.analysis.accuracy` returns them.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG; none if the sparse engine was not timed.
    """
    sparse = sparse_rows(compared)
    models = list(sparse.groupby(["model", "family"], sort=False))
    if not models:
        return []
    colors = dict(zip(sorted(sparse["batch"].unique()), COLORS * len(sparse), strict=False))
    drawn, axes = plt.subplots(
        2, len(models), figsize=(max(5.5, 3.4 * len(models) + 0.4), 6.4), squeeze=False, sharex=True, sharey="row",
        height_ratios=(1.5, 1),
    )  # fmt: skip
    for ((model, family), rows), above, below in zip(models, axes[0], axes[1], strict=True):
        _draw_speedups(above, rows, colors)
        above.set_title(str(model))
        above.grid(alpha=0.3)
        _draw_accuracy(below, drops[drops["family"] == family], rows["sparsity_target"])
        below.set_xlabel("sparsity of the pruned layers, %\n(0: control)")
        below.set_xticks([100 * sparsity for sparsity in sorted(rows["sparsity_target"].unique())])
    axes[0][0].set_ylabel("times as fast")
    axes[1][0].set_ylabel("top-1 kept, % of dense")
    entries = legend_entries(axes.flat)
    below_inches = 0.25 * -(-len(entries) // 4) + 0.15
    legend(drawn, entries, columns=min(4, len(models) + 1), fontsize=9)
    drawn.suptitle("Inference on the CPU: sparse engine against dense ones")
    drawn.tight_layout(rect=(0, below_inches / drawn.get_size_inches()[1], 1, 1))
    return save(drawn, stem)


def _draw_speedups(axis: Axes, rows: pd.DataFrame, colors: Mapping[int, str]) -> None:
    """Draws how many times as fast the sparse engine is on one model, a colour for each batch size."""
    axis.axhspan(*CLAIMED, color="black", alpha=0.07, linewidth=0, label="claimed")
    axis.axhline(1, color="black", linewidth=1)
    for batch, points in rows.groupby("batch"):
        points = points.sort_values("sparsity_target")
        x = 100 * points["sparsity_target"]
        errors = [points["to_dense"] - points["to_dense_low"], points["to_dense_high"] - points["to_dense"]]
        axis.errorbar(
            x, points["to_dense"], yerr=np.clip(errors, 0, None), color=colors[batch], marker="o", markersize=4,
            linewidth=1.3, capsize=2, label=f"batch {batch}, to the best dense engine",
        )  # fmt: skip
        axis.plot(
            x, points["to_eager"], color=colors[batch], marker="o", markersize=4, markerfacecolor="white",
            linewidth=1.3, linestyle="--", label=f"batch {batch}, to eager",
        )  # fmt: skip


def _draw_accuracy(axis: Axes, drops: pd.DataFrame, sparsities: pd.Series) -> None:
    """Draws the top-1 that the embedded model of a family keeps at these sparsities."""
    axis.axhline(100 - ALLOWED, color="black", linewidth=1, linestyle=":", label=f"{ALLOWED:g} % relative drop")
    axis.grid(alpha=0.3)
    shown = drops[drops["sparsity"].isin(sparsities)].sort_values("sparsity")
    for phase, (name, line, filling) in PHASE_STYLES.items():
        points = shown[shown[phase].notna()]
        if len(points):
            axis.plot(
                100 * points["sparsity"], 100 - points[phase], color="black", marker="s", markersize=4, linewidth=1.3,
                linestyle=line, markerfacecolor=filling, label=f"embedded model, CAP {name}",
            )  # fmt: skip
    if len(shown):
        axis.set_title(f"embedded {shown['model'].iloc[0]}", fontsize=9)
