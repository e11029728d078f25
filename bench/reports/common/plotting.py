"""Figures without a display: styles of methods, one legend for all panels, reproducible files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Style = tuple[str, str]  # colour and marker
STYLES: dict[str, Style] = {  # of methods: grey those of the weights alone, blue and purple rivals on the Fisher
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
    "oBERT": ("#4a90d9", "d"),
    "CHITA": ("#6a3d9a", "*"),
    "composed": ("#00897b", "H"),
    "RIA": ("#c49c94", "<"),
    "DSnoT": ("#5d3a2e", "v"),
    "ALPS": ("#98df8a", "p"),
    "SNOWS": ("#f7a8d8", "8"),
    "Taylor": ("#8a8c1f", "^"),
    "SynFlow": ("#b0b0b0", "D"),
    "Random": ("#c7c7c7", "+"),
}
OTHERS: list[Style] = list(
    zip(("#003f5c", "#58a618", "#ffb000", "#7a5195", "#00a6a6", "#a05a2c"), "s^Dvp*", strict=True)
)


def legend_entries(axes: Iterable[Axes]) -> dict[str, Artist]:
    """Returns {label: handle} of what is drawn in several panels, each label once, in the order of the panels."""
    return {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}


def legend(
    figure: Figure, entries: dict[str, Artist], columns: int, fontsize: float | None = None, bottom: float = 0.0
) -> None:
    """Puts one legend for all panels at the bottom of a figure.

    Args:
        figure: The figure.
        entries: {label: handle}, as `legend_entries` returns them.
        columns: Largest number of columns.
        fontsize: Size of the text, points; matplotlib's own by default.
        bottom: Lower edge, fraction of the figure's height.
    """
    figure.legend(
        list(entries.values()), list(entries), loc="lower center", ncols=min(columns, len(entries)), frameon=False,
        fontsize=fontsize, bbox_to_anchor=(0.5, bottom),
    )  # fmt: skip


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
