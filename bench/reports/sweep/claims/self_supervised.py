"""Claim C6: large self-supervised models keep their accuracy at moderate sparsity."""

from __future__ import annotations

from bench.reports.common.text import extent
from bench.reports.sweep.summary import SweepResults, plain
from bench.results.labels import CAP


def large_models_keep_accuracy(results: SweepResults) -> list[str]:
    """Returns whether CAP, one-shot, costs large models at most 1 % relative top-1 at 50 % sparsity."""
    rows, summary = results.rows, results.summary
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.5)]
    if cells.empty or not (rows["sweep"] == "large_ssl").any():
        return []
    holds = cells["one_shot_rel_drop"] <= 1
    numbers = ", ".join(f"{row.model} {row.one_shot_rel_drop:.2f} %" for row in cells.itertuples())
    return [
        f"C6 (large models pruned to 50 % one-shot lose at most 1 % relative top-1): {extent(holds)}, with CAP on "
        f"{holds.sum()} of {len(holds)} models. Relative drop: {numbers}."
    ]
