"""The N:M part of claim C4: CAP prunes to N:M patterns."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.claims.wording import ranking
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import NM, PHASES


def follows_n_m_patterns(results: SweepResults) -> list[str]:
    """Returns whether the models that CAP pruned follow their N:M patterns, and how the pruners compare there."""
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
        holding = f"{extent(follows)}, {follows.sum()} of {len(follows)} pruned models follow their pattern"
        holding += f"; violations over all pruners: {cells['violations'].sum():,.0f}"
    else:
        holding = "not tested, violations were not counted"
    text = f"C4 (in its N:M part: CAP prunes to N:M patterns): {holding}."
    for phase, name in PHASES.items():
        orders = {str(pattern): ranking(part, phase) for pattern, part in cells.groupby("pattern", sort=False)}
        listed = "; ".join(f"{pattern}: {order}" for pattern, order in orders.items() if order)
        text += f" Mean {name} top-1 over models, best first: {listed}." if listed else ""
    return [text]
