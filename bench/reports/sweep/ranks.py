"""Mean ranks of pruners over all cells that each of them has. Reads parquet alone."""

from __future__ import annotations

from dataclasses import dataclass

from bench.reports.common.text import joined
from bench.reports.sweep.summary import SweepResults, seeded_rows, series
from bench.results.labels import GLOBAL, LAYER, NM, PHASES
from bench.statistics.outcomes import LEVEL
from bench.statistics.ranking import Ranking, rank_methods

FEWEST = 3  # methods and cells from which on ranks say something
MANY = 10  # pruners from which on a sentence names the best alone
KINDS = {GLOBAL: "all layers together", LAYER: "per layer", NM: "N:M"}  # of patterns, in the order of reports


@dataclass(frozen=True)
class PrunerRanking:
    """Ranks of the pruners that follow one kind of pattern.

    Attributes:
        kind: Kind of the pattern.
        phase: Phase of the models.
        names: Names of the pruners with their variants, in the order of the ranks' columns.
        methods: Name of the method of each.
        cells: Number of cells.
        ranking: Ranks.
    """

    kind: str
    phase: str
    names: tuple[str, ...]
    methods: tuple[str, ...]
    cells: int
    ranking: Ranking

    @property
    def title(self) -> str:
        """What was ranked."""
        return f"{PHASES[self.phase]}, {KINDS[self.kind]}"

    @property
    def sentence(self) -> str:
        """Mean ranks, best first, with the critical difference, and who is not told apart; of many the best."""
        found = self.ranking
        order = sorted(range(len(self.names)), key=lambda place: found.mean_ranks[place])
        many = len(order) > MANY
        numbers = ", ".join(f"{self.names[place]} {found.mean_ranks[place]:.2f}" for place in order[:MANY])
        numbers += f" and {len(order) - MANY} more" if many else ""
        groups = [group for group in found.groups if not many or order[0] in group]
        alike = "; ".join(joined(self.names[place] for place in group) for group in groups)
        who = " from the best" if many else ""
        p_value = "p < 0.001" if found.p_value < 1e-3 else f"p = {found.p_value:.3f}"
        return (
            f"Mean ranks {self.title}, over {self.cells} cells (model, dense seed and pattern) that all pruners have: "
            f"{numbers}. Friedman's test {p_value}; critical difference at {100 * LEVEL:g} % "
            f"{found.critical_difference:.2f}, by which are not told apart{who}: {alike or 'none'}. Cells of one dense "
            "model are not independent: this describes and decides no claim."
        )


def rankings(results: SweepResults) -> list[PrunerRanking]:
    """Returns the ranks of pruners with dense seeds, by phase and kind of pattern; none where there is little to rank.

    Pruners of one kind that share no cell with all others keep these from being ranked: a cell counts that every one
    of them has.
    """
    rows = seeded_rows(results.done)
    rows = rows[(rows["regime"] == "one_shot") & (rows["sparsity"] > 0)].assign(series=lambda frame: series(frame))
    found = []
    for phase in PHASES:
        for kind in KINDS:
            part = rows[(rows["phase"] == phase) & (rows["kind"] == kind)]
            scores = part.pivot_table(index=["model", "dense_seed", "pattern"], columns="series", values="top1")
            scores = scores[list(dict.fromkeys(part["series"]))].dropna() if len(part) else scores
            if scores.shape[0] >= FEWEST and scores.shape[1] >= FEWEST:
                methods = dict(zip(part["series"], part["method"], strict=True))
                names = tuple(map(str, scores.columns))
                found.append(
                    PrunerRanking(
                        kind, phase, names, tuple(methods[name] for name in names), len(scores),
                        rank_methods(scores.to_numpy()),
                    )
                )  # fmt: skip
    return found
