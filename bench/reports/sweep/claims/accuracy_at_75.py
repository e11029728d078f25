"""Claim C1: CAP keeps its accuracy at 75 % sparsity."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.drops import estimate_drop
from bench.reports.sweep.summary import SweepResults, plain
from bench.results.labels import CAP
from bench.statistics.outcomes import judge, overall

SUPERVISED = ("vit", "convnext", "hybrid", "cnn")  # families that the claim is on


def keeps_accuracy_at_75(results: SweepResults) -> list[str]:
    """Returns whether CAP keeps top-1 within 1 % relative of dense at 75 % sparsity, after fine-tuning.

    With several dense models of an architecture it is judged as docs/protocol.md says; with one it is told what was
    measured.
    """
    done = results.done[plain(results.done) & (results.done["method"] == CAP) & (results.done["sparsity"] == 0.75)]
    tested = (done["phase"] == "finetuned") & done["family"].isin(SUPERVISED) & (done["split"] != "validation")
    seeded = done[tested & done["dense_seed"].notna()]
    return _judged(seeded, results) if len(seeded) else _measured(results)


def _judged(rows: pd.DataFrame, results: SweepResults) -> list[str]:
    """Returns the verdict over dense models: it holds on each architecture, fails on one, or is undecided."""
    cells = dict(iter(rows.groupby(["model", "variant"], sort=False)))
    drops = [estimate_drop(part, results.predictions) for part in cells.values()]
    outcomes = judge(drops)
    told = []
    for (model, variant), drop, outcome in zip(cells, drops, outcomes, strict=True):
        low, high = drop.interval()
        spread = f" ({low:.2f} to {high:.2f})" if drop.units > 1 else ""
        name = f"{model} {variant}".strip()
        told.append(f"{name} {drop.value:.2f} %{spread}, {drop.units} dense seeds: {outcome.value}")
    return [
        f"C1 (CAP at 75 % loses at most 1 % relative top-1, after the fine-tune): {overall(outcomes).value}. Relative "
        f"drop with 95 % interval; one-sided tests against 1 %, corrected for {len(drops)}: {'; '.join(told)}."
    ]


def _measured(results: SweepResults) -> list[str]:
    """Returns on how many models the mean drop is at most 1 %, whatever the chance of it."""
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
