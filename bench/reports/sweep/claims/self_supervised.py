"""Claim C6: large self-supervised models keep their accuracy at moderate sparsity; what small ones say of it."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.claims.finding import PERCENT, Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import by_model, judged_cells, verdict
from bench.reports.sweep.summary import SweepResults, judged_rows, plain
from bench.results.labels import CAP
from bench.results.schema import SCHEMA
from bench.statistics.outcomes import Outcome, judge, overall

ROW = ProtocolRow(
    claim="C6",
    statement="large self-supervised models prune to 50 % at negligible loss",
    cells="each large self-supervised model, one-shot at 50 %, by linear head or nearest neighbours; a small model "
    "stands in only if its features before pruning beat raw pixels by nearest neighbours, and the verdict says "
    '"small"',
    confirmed="r lower than 1 % on each",
    refuted="r higher than 1 % on one",
)
SELF_SUPERVISED = "dino"  # family of models
SMALL = 10**7  # parameters below which a model only stands in for a large one
RAW_PIXELS = {"fashion-mnist": 84.0}  # top-1 by `bench.models.probing.knn_top1`, normalised as models get them


def large_models_keep_accuracy(results: SweepResults) -> list[Finding]:
    """Returns whether CAP, one-shot, costs large models at most 1 % relative top-1 at 50 % sparsity.

    With several dense models of an architecture it is judged as docs/protocol.md says.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without a self-supervised one."""
    rows = judged_rows(results.done)
    rows = rows[plain(rows) & (rows["method"] == CAP) & (rows["sparsity"] == 0.5) & (rows["phase"] == "one_shot")]
    rows = rows[rows["family"] == SELF_SUPERVISED]
    if rows.empty:
        return []
    small = rows["params_dense"] < SMALL
    weak = _weak_features(results.rows, rows[small])
    drops = {
        f"{'small ' if (part['params_dense'] < SMALL).all() else ''}{name}": results.estimator.drop(part)
        for name, part in by_model(rows).items()
    }
    tests = judge(list(drops.values()))
    outcome = Outcome.UNDECIDED if weak else overall([test.outcome for test in tests])
    cells = judged_cells(drops, tests, PERCENT)
    subject = "small models stand in" if small.any() else ""
    return [verdict(ROW, outcome, "Relative drop r of CAP at 50 % one-shot", cells, weak, subject)]


def _weak_features(rows: pd.DataFrame, small: pd.DataFrame) -> list[str]:
    """Returns a sentence on every small model that may not stand in for a large one.

    Args:
        rows: Result rows, with those of dense models.
        small: Rows of pruned small models.
    """
    told = []
    for model, part in small.groupby("model", sort=False):
        dense = rows[(rows["phase"] == "dense") & rows["trial_id"].isin(part["trial_id"])]
        neighbours, known = pd.to_numeric(dense["knn_top1"]).min(), _raw_pixels(dense)
        if known is None or pd.isna(neighbours):
            told.append(f"Whether the features of {model} beat raw pixels by nearest neighbours was not measured.")
        elif neighbours <= known:
            told.append(
                f"The features of {model} do not beat raw pixels by nearest neighbours ({neighbours:.1f} to "
                f"{known:.1f} %), so it does not stand in for a large model."
            )
    return told


def _raw_pixels(dense: pd.DataFrame) -> float | None:
    """Returns the accuracy of raw pixels by nearest neighbours: that in the rows, else what is known of the data."""
    measured = pd.to_numeric(dense["pixel_knn_top1"]).max()
    return RAW_PIXELS.get(dense["dataset"].iloc[0]) if pd.isna(measured) else float(measured)


def _measured(results: SweepResults) -> list[Finding]:
    """Returns on how many models the mean drop is at most 1 %, whatever the chance of it."""
    rows, summary = results.rows, results.summary
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.5)]
    if cells.empty or not (rows["sweep"] == "large_ssl").any():
        return []
    holds = cells["one_shot_rel_drop"] <= 1
    numbers = ", ".join(f"{row.model} {row.one_shot_rel_drop:.2f} %" for row in cells.itertuples())
    return [
        Finding(
            claim="C6",
            statement="large models pruned to 50 % one-shot lose at most 1 % relative top-1",
            outcome=extent(holds),
            joint=", ",
            text=f"with CAP on {holds.sum()} of {len(holds)} models. Relative drop: {numbers}.",
        )
    ]


def small_models_keep_features(results: SweepResults) -> list[Finding]:
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
        Finding(
            claim="C6",
            statement="self-supervised models pruned to 50 % one-shot lose at most 1 % relative top-1",
            outcome=Outcome.UNDECIDED.value,
            joint=", ",
            text=f"for the models are small, and there is one of each. On {data}, CAP takes {'; '.join(told)}.",
        )
    ]


def _drop(dense: float, pruned: float) -> str:
    """Returns an accuracy before and after pruning, with the relative drop."""
    return f"from {dense:.2f} to {pruned:.2f} %, a relative drop of {100 * (1 - pruned / dense):.2f} %"
