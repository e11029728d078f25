"""Claim C1: CAP keeps its accuracy at 75 % sparsity."""

from __future__ import annotations

from bench.reports.common.text import extent
from bench.reports.sweep.summary import SweepResults, plain
from bench.results.labels import CAP


def keeps_accuracy_at_75(results: SweepResults) -> list[str]:
    """Returns whether CAP keeps top-1 within 1 % relative of dense at 75 % sparsity, after fine-tuning."""
    summary = results.summary
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.75)]
    cells = cells[cells["finetuned_n"].notna()]
    if cells.empty:
        return []
    holds, without = cells["finetuned_rel_drop"] <= 1, cells["one_shot_rel_drop"] <= 1
    what = "models and variants" if cells["variant"].any() else "models"
    numbers = ", ".join(
        f"{' '.join(filter(None, (row.model, row.variant)))} {row.finetuned_rel_drop:.2f} % "
        f"(before it {row.one_shot_rel_drop:.2f} %)"
        for row in cells.itertuples()
    )
    return [
        f"C1 (CAP at 75 % loses at most 1 % relative top-1): {extent(holds)}, on {holds.sum()} of {len(holds)} {what} "
        f"after the short fine-tune and on {without.sum()} before it. Relative drop: {numbers}."
    ]
