"""Claim C6: large self-supervised models keep their accuracy at moderate sparsity; what small ones say of it."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.summary import SweepResults, plain
from bench.results.labels import CAP
from bench.results.schema import SCHEMA


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


def small_models_keep_features(results: SweepResults) -> list[str]:
    """Returns what CAP, one-shot, costs the features of small models at 50 % sparsity.

    A small model stands in for large ones if its features before pruning beat raw pixels by nearest neighbours. One
    network has no interval, so there is no verdict: seeds draw calibration images, and are no dense models.
    """
    rows, done = results.rows.reindex(columns=SCHEMA.names), results.done
    dense = rows[(rows["phase"] == "dense") & (rows["family"] == "dino")]
    dense = dense[pd.to_numeric(dense["pixel_knn_top1"]).notna()].groupby("model", sort=False)
    means = dense[["top1", "knn_top1", "pixel_knn_top1"]].mean()
    cells = done[plain(done) & (done["method"] == CAP) & (done["sparsity"] == 0.5) & (done["phase"] == "one_shot")]
    pruned = cells[cells["model"].isin(means.index)].groupby("model", sort=False)[["top1", "knn_top1"]].mean()
    if pruned.empty:
        return []
    told = [
        f"{model} by a linear head {_drop(whole['top1'], part['top1'])}, by nearest neighbours "
        f"{_drop(whole['knn_top1'], part['knn_top1'])}, raw pixels {whole['pixel_knn_top1']:.2f} %"
        + (
            ""
            if whole["knn_top1"] > whole["pixel_knn_top1"]
            else ": its features do not beat them, so it shows nothing"
        )
        for (model, part), whole in zip(pruned.iterrows(), means.loc[pruned.index].to_dict("records"), strict=True)
    ]
    data = ", ".join(sorted(cells["dataset"].dropna().unique()))
    return [
        "C6 (self-supervised models pruned to 50 % one-shot lose at most 1 % relative top-1): undecided, for the "
        f"models are small, and there is one of each. On {data}, CAP takes {'; '.join(told)}."
    ]


def _drop(dense: float, pruned: float) -> str:
    """Returns an accuracy before and after pruning, with the relative drop."""
    return f"from {dense:.2f} to {pruned:.2f} %, a relative drop of {100 * (1 - pruned / dense):.2f} %"
