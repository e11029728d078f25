"""The N:M part of claim C4: CAP prunes to N:M patterns."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.claims.finding import Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import by_model, limit_verdict, supervised_cap
from bench.reports.sweep.claims.wording import ranking
from bench.reports.sweep.summary import SweepResults, judged_rows
from bench.results.labels import NM, PHASES

ROW = ProtocolRow(
    claim="C4a",
    statement="compatible with N:M",
    cells="each architecture at 2:4 after the fine-tune, without the hybrid's depthwise convolutions, whose weights "
    "have one input each; that masks comply is a condition of having a result, no evidence",
    confirmed="r lower than 1 % on each",
    refuted="r higher than 1 % on one",
)


def follows_n_m_patterns(results: SweepResults) -> list[Finding]:
    """Returns whether the models that CAP pruned follow their N:M patterns, and how the pruners compare there.

    With several dense models of an architecture accuracy at 2:4 is judged as docs/protocol.md says.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without a fine-tuned model at 2:4. Invalid rows are no results."""
    rows = supervised_cap(judged_rows(results.done))
    rows = rows[(rows["pattern"] == "2:4") & (rows["regime"] == "one_shot") & (rows["phase"] == "finetuned")]
    if rows.empty:
        return []
    drops = {name: results.estimator.drop(part) for name, part in by_model(rows).items()}
    return [limit_verdict(ROW, drops, rows["family"], "Relative drop r of CAP at 2:4 after the fine-tune")]


def _measured(results: SweepResults) -> list[Finding]:
    """Returns how many pruned models follow their pattern."""
    rows, summary = results.rows, results.summary
    cells = summary[summary["kind"] == NM]
    own = rows[
        (rows["pruner"] == "cap") & (rows["pattern"].isin(cells["pattern"].unique()) | (rows["status"] == "failed"))
    ]
    if cells.empty or own.empty:
        return []
    violations = pd.to_numeric(own.get("violations", pd.Series(dtype=float)))
    if violations.notna().any():
        follows = (own["status"] == "done") & (violations == 0)
        outcome, text = extent(follows), f"{follows.sum()} of {len(follows)} pruned models follow their pattern"
        text += f"; violations over all pruners: {cells['violations'].sum():,.0f}."
    else:
        outcome, text = "not tested", "violations were not counted."
    for phase, name in PHASES.items():
        orders = {str(pattern): ranking(part, phase) for pattern, part in cells.groupby("pattern", sort=False)}
        listed = "; ".join(f"{pattern}: {order}" for pattern, order in orders.items() if order)
        text += f" Mean {name} top-1 over models, best first: {listed}." if listed else ""
    statement = "in its N:M part: CAP prunes to N:M patterns"
    return [Finding(claim="C4", statement=statement, outcome=outcome, joint=", ", text=text)]
