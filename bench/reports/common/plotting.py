"""Figures without a display: looks of methods, one legend for all panels, reproducible files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results.labels import BESIDE, LABELS
from bench.results.methods import FISHER, GRADIENTS, INPUTS, OTHER, PARTS, WEIGHTS, method_of, place_in_family

DASHES = ("-", "--", ":", "-.")
MARKERS = "os^Dvph*X<>d8P"
SHADES = {  # of the families, as on the page of results: told apart by the colour-blind
    WEIGHTS: ("#2e2e2e", "#6b6b6b", "#909090"),
    GRADIENTS: ("#d57d01", "#8a5200", "#b98a3a"),
    FISHER: ("#0047c8", "#5b8ff0", "#1b3f94"),
    INPUTS: ("#00a470", "#005f41", "#4d9e80"),
    PARTS: ("#96528f", "#5a2856", "#b07fab"),
    OTHER: ("#9e1000", "#5c0900", "#d2553f"),
}
REGISTERED = {label: pruner for pruner, label in LABELS.items()}


class Style(NamedTuple):
    """Look of a line or bar.

    Attributes:
        color: Colour, by the family of the method.
        marker: Marker of matplotlib, by the place in the family.
        dash: Line style of matplotlib, likewise.
    """

    color: str
    marker: str
    dash: str


def family_style(family: str, place: int) -> Style:
    """Returns the look of a method.

    Args:
        family: One of `bench.results.methods.FAMILIES`.
        place: Place of the method in it; from MARKERS on looks come again.
    """
    shades = SHADES[family]
    return Style(shades[place % len(shades)], MARKERS[place % len(MARKERS)], DASHES[place % len(DASHES)])


def family_place(method: str) -> tuple[str, int] | None:
    """Returns the family of a registered method by its label, and its place there; None for any other."""
    pruner = REGISTERED.get(BESIDE.get(method, method))
    return (method_of(pruner).family, place_in_family(method, pruner)) if pruner is not None else None


def method_styles(methods: Iterable[str]) -> list[Style]:
    """Returns the look of each method; one that is not registered, or is there again, gets one that no other has.

    Args:
        methods: Labels, such as one for each line of a figure.
    """
    methods = list(methods)
    places = [family_place(method) for method in methods]
    taken: set[tuple[str, int]] = set()
    first = [place is not None and methods.index(method) == number
             for number, (method, place) in enumerate(zip(methods, places, strict=True))]  # fmt: skip
    taken |= {place for place, own in zip(places, first, strict=True) if place is not None and own}
    found = []
    for place, own in zip(places, first, strict=True):
        family, number = place or (OTHER, 0)
        while not own and (family, number) in taken:
            number += 1
        taken.add((family, number))
        found.append(family_style(family, number))
    return found


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
