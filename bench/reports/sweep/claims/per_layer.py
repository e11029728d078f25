"""The pruners where every layer gets the same sparsity."""

from __future__ import annotations

from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.claims.wording import ranking
from bench.reports.sweep.summary import SweepResults, representative
from bench.results.labels import LAYER, percent


def per_layer_ranking(results: SweepResults) -> list[Finding]:
    """Returns how the pruners compare one-shot where every layer gets the same sparsity."""
    summary = results.summary
    cells = summary[(summary["kind"] == LAYER) & summary["one_shot_n"].notna()]
    if cells["name"].nunique() < 3:
        return []
    shown = {s: ranking(cells[cells["sparsity"] == s], "one_shot") for s in representative(cells["sparsity"])}
    listed = "; ".join(f"{percent(sparsity)}: {order}" for sparsity, order in shown.items() if order)
    if not listed:
        return []
    told = "Same sparsity in every layer, mean one-shot top-1 over models, best first"
    return [Finding(statement=told, text=f"{listed}.")]
