"""Mean ranks of pruners with the critical difference (Demsar, 2006, JMLR 7, 1-30, figure 1, set upright)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.reports.common.plotting import method_styles
from bench.reports.sweep.figures.panels import finish, panels
from bench.reports.sweep.ranks import PrunerRanking

WIDTH, LINE = 5.6, 0.22  # inches: of a panel, of a pruner
NOTE = "bars join pruners that are not told apart; cells of one dense model are not independent"


def rank_panels(rankings: Sequence[PrunerRanking], title: str, stem: Path) -> list[Path]:
    """Draws the mean ranks of pruners, the best on top, one panel a ranking.

    Args:
        rankings: Rankings, at least one.
        title: Heading of the figure.
        stem: Path without suffix.

    Returns:
        The files written: PNG and SVG.
    """
    longest = max(len(ranking.names) for ranking in rankings)
    figure, axes = panels(len(rankings), width=WIDTH, height=1.4 + LINE * longest)
    for axis, ranking in zip(axes, rankings, strict=True):
        _draw(axis, ranking)
    return finish(figure, axes, f"{title}: mean ranks", stem, NOTE)


def _draw(axis: Axes, ranking: PrunerRanking) -> None:
    """Draws one ranking."""
    found = ranking.ranking
    order = sorted(range(len(ranking.names)), key=lambda place: found.mean_ranks[place])
    height = {place: line for line, place in enumerate(order)}
    styles = method_styles(ranking.methods)
    for place, line in height.items():
        rank, style = found.mean_ranks[place], styles[place]
        axis.plot([1, rank], [line, line], color=style.color, linewidth=0.8, alpha=0.5)
        axis.plot([rank], [line], color=style.color, marker=style.marker, markersize=6, linestyle="")
    right = len(order) + 0.4
    for number, group in enumerate(found.groups):
        lines = [height[place] for place in group]
        x = right + 0.25 * number
        axis.plot([x, x], [min(lines) - 0.25, max(lines) + 0.25], color="black", linewidth=3, solid_capstyle="butt")
    axis.plot([1, 1 + found.critical_difference], [-1, -1], color="black", linewidth=1.2, marker="|", markersize=6)
    text = f"critical difference {found.critical_difference:.2f}"
    axis.annotate(
        text, (1 + found.critical_difference, -1), (6, 0), textcoords="offset points", fontsize=8, va="center"
    )
    axis.set_yticks(list(height.values()), [ranking.names[place] for place in height], fontsize=8)
    axis.set_ylim(len(order) - 0.4, -1.7)
    axis.set_xlim(0.7, right + 0.25 * len(found.groups) + 0.2)
    ranks = range(1, len(order) + 1, 1 + len(order) // 16)
    axis.set_xticks(ranks, list(map(str, ranks)), fontsize=8)
    axis.set_xlabel(f"mean rank over {ranking.cells} cells, 1 is best")
    axis.set_title(ranking.title)
    axis.grid(alpha=0.3, axis="x")
