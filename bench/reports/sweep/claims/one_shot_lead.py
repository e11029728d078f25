"""Claim C2: CAP beats the other pruners one-shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.reports.common.text import extent, joined
from bench.reports.sweep.claims.finding import POINTS, Finding, JudgedCell, ProtocolRow
from bench.reports.sweep.claims.verdict import (
    SUPERVISED,
    absent_architectures,
    has_collapsed,
    judged_cells,
    verdict,
)
from bench.reports.sweep.claims.wording import by_sparsity, in_table_order
from bench.reports.sweep.leads import lead_sentence, leads_over_best
from bench.reports.sweep.summary import SweepResults, judged_rows, plain, series
from bench.results.labels import CAP, LABELS, percent
from bench.statistics.estimate import Estimate
from bench.statistics.outcomes import CellTest, Outcome, signs

ROW = ProtocolRow(
    claim="C2",
    statement="CAP beats magnitude, gradient times weight, WoodFisher and M-FAC, most at high sparsity",
    cells="each rival x 50, 75, 90 %, one-shot, difference averaged over architectures, every rival with global "
    "allocation and tuned alike",
    confirmed="better than each rival at 75 and 90 %, worse in no cell, and the mean difference at 90 % larger than at "
    "50 %",
    refuted="worse in a cell",
)
RIVALS = tuple(LABELS[name] for name in ("magnitude", "gradient_weight", "woodfisher", "mfac"))
LOW, *HIGH = SPARSITIES = (0.5, 0.75, 0.9)


@dataclass(frozen=True)
class RivalCell:
    """Lead of CAP over a rival at a sparsity, mean over the models that both have.

    Attributes:
        series: Name of the rival, with its variant.
        method: Name of its method.
        sparsity: Fraction of zeros.
        ours: Rows of CAP, by model.
        theirs: Rows of the rival on the same models.
        lead: Lead, points.
    """

    series: str
    method: str
    sparsity: float
    ours: list[pd.DataFrame]
    theirs: list[pd.DataFrame]
    lead: Estimate

    @property
    def name(self) -> str:
        """Name of the cell in a verdict."""
        return f"over {self.series} at {percent(self.sparsity)}"

    @property
    def named(self) -> bool:
        """Whether the row of the protocol names it: one of `RIVALS`, on all architectures."""
        return self.method in RIVALS and not absent_architectures(part["family"].iloc[0] for part in self.ours)

    @property
    def decides(self) -> bool:
        """Whether not all models of it have collapsed."""
        return not has_collapsed([*self.ours, *self.theirs])


def leads_one_shot(results: SweepResults) -> list[Finding]:
    """Returns whether CAP beats the other pruners one-shot, and by more at high sparsity.

    With several dense models of an architecture it is judged as docs/protocol.md says. With one, in each cell (model
    and sparsity) CAP is set against the best of the others by mean top-1, and seed by seed.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without one CAP and another pruner in one cell."""
    rows = judged_rows(results.done)
    rows = rows[plain(rows) & (rows["phase"] == "one_shot") & rows["family"].isin(SUPERVISED)]
    cells = _cells(rows, results)
    if rows.loc[rows["method"] == CAP, "variant"].nunique() != 1 or not cells:
        return []
    named = [cell for cell in cells if cell.named]
    tests = [
        test if cell.decides else CellTest(Outcome.UNDECIDED, test.p_value)
        for cell, test in zip(named, signs([cell.lead for cell in named]), strict=True)
    ]
    there = {(cell.method, cell.sparsity) for cell in named}
    lacking = [f"{rival} at {percent(s)}" for rival in RIVALS for s in SPARSITIES if (rival, s) not in there]
    told = [
        *judged_cells({cell.name: cell.lead for cell in named}, tests, POINTS, ("better", "worse", "undecided")),
        *(JudgedCell(cell.name, cell.lead, POINTS) for cell in cells if not cell.named),
    ]
    notes = [f"Not on all architectures: {joined(lacking)}."] if lacking else []
    best = leads_over_best(
        results, [sparsity for sparsity in SPARSITIES if sparsity in set(rows["sparsity"])], SUPERVISED
    )
    outcome = _outcome(named, [test.outcome for test in tests], whole=not lacking)
    quantity = "CAP's lead in top-1, mean over architectures"
    return [verdict(ROW, outcome, quantity, told, [*notes, *lead_sentence(best)])]


def _cells(rows: pd.DataFrame, results: SweepResults) -> list[RivalCell]:
    """Returns the cells of every rival, in the order of tables."""
    rows = rows.assign(series=series(rows))
    own, rivals = rows[rows["method"] == CAP], rows[rows["method"] != CAP]
    cells = []
    for name in in_table_order(rivals, set(rivals["series"])):
        rival = rivals[rivals["series"] == name]
        for sparsity in SPARSITIES:
            ours, theirs = (
                dict(iter(part[part["sparsity"] == sparsity].groupby("model", sort=False))) for part in (own, rival)
            )
            shared = [model for model in ours if model in theirs]
            pairs = [ours[model] for model in shared], [theirs[model] for model in shared]
            if shared and (lead := results.estimator.difference(*pairs)) is not None:
                cells.append(RivalCell(name, rival["method"].iloc[0], sparsity, *pairs, lead))
    return cells


def _outcome(cells: Sequence[RivalCell], shown: Sequence[Outcome], whole: bool) -> Outcome:
    """Returns the outcome by the row of the protocol.

    Args:
        cells: Cells that the row names.
        shown: Outcome of the test of each.
        whole: Whether these are all of them; else nothing is confirmed.
    """
    if Outcome.FAILS in shown:
        return Outcome.FAILS
    low, high = (sum(cell.lead.value for cell in cells if cell.sparsity == at) for at in (LOW, HIGH[-1]))
    better = all(one is Outcome.HOLDS for cell, one in zip(cells, shown, strict=True) if cell.sparsity in HIGH)
    return Outcome.HOLDS if whole and better and high > low else Outcome.UNDECIDED


def _measured(results: SweepResults) -> list[Finding]:
    """Returns in how many cells CAP's mean is the highest."""
    done = results.done
    shots = done[plain(done) & (done["phase"] == "one_shot")]
    if shots.loc[shots["method"] == CAP, "variant"].nunique() != 1:
        return []
    shots = shots.assign(series=series(shots).where(shots["method"] != CAP, CAP))
    cells = []
    for (_, sparsity), part in shots.groupby(["model", "sparsity"]):
        tops = part.pivot_table(index="seed", columns="series", values="top1").dropna()
        if CAP in tops and tops.shape[1] > 1 and len(tops):
            rivals = tops.drop(columns=CAP)
            best = rivals.mean().idxmax()
            lead = tops[CAP].mean() - rivals[best].mean()
            cells.append((sparsity, lead, (tops[CAP] > tops[best]).all(), set(rivals)))
    if not cells:
        return []
    table = pd.DataFrame(cells, columns=["sparsity", "lead", "every_seed", "rivals"])
    lead, leads = table["lead"], table.groupby("sparsity")["lead"].mean()
    rivals = in_table_order(shots, set().union(*table["rivals"]))
    grows = (
        f" It is larger at {percent(leads.idxmax())} than at the lowest sparsity."
        if leads.idxmax() != leads.index[0]
        else " It is largest at the lowest sparsity."
    )
    return [
        Finding(
            claim="C2",
            statement=f"CAP beats {joined(rivals)} one-shot",
            outcome=extent(lead > 0),
            joint=", ",
            text=f"CAP's mean is the highest in {(lead > 0).sum()} of {len(lead)} cells, and in "
            f"{table['every_seed'].sum()} it beats the best other pruner with every seed. Lead over the best other "
            f"pruner in points of top-1, mean over models: {by_sparsity(leads)}; smallest {lead.min():+.2f}, largest "
            f"{lead.max():+.2f}.{grows}",
        )
    ]
