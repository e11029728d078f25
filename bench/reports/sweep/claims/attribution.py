"""Shares of mask, update and layer sparsities in the lead of one pruner over another."""

from __future__ import annotations

import pandas as pd

from bench.reports.sweep.attribution import UNIFORM, composed, of_both_allocations
from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import CAP, JOINT, LABELS, NO_UPDATE, method_order, percent

BASE = LABELS["magnitude"]


def shares_of_mask_and_update(results: SweepResults) -> list[Finding]:
    """Returns what CAP's mask, the joint update, and both gain over magnitude without an update."""
    cells = composed(results.summary)
    cells = cells[cells["allocation"] == cells["mask"]]
    corners = [(BASE, NO_UPDATE), (BASE, JOINT), (CAP, NO_UPDATE), (CAP, JOINT)]
    top1 = cells.pivot_table(index=["sparsity", "model"], columns=["mask", "update"], values="one_shot_mean")
    if not set(corners) <= set(top1.columns):
        return []
    complete = top1[corners].dropna()
    means = complete.groupby("sparsity").mean()
    gains = [
        f"{percent(sparsity)}: update alone {row[corners[1]] - row[corners[0]]:+.2f}, mask alone "
        f"{row[corners[2]] - row[corners[0]]:+.2f}, both {row[corners[3]] - row[corners[0]]:+.2f}"
        for sparsity, row in means.iterrows()
    ]
    gained = "One-shot top-1 that CAP's mask and the joint update gain over magnitude without an update, in points"
    return [Finding(statement=f"{gained}, {_mean_over(complete)}", text=f"{'; '.join(gains)}.")] if gains else []


def gain_of_layer_sparsities(results: SweepResults) -> list[Finding]:
    """Returns what each mask gains by CAP's layer sparsities over equal ones."""
    cells = of_both_allocations(results.summary)
    if cells.empty:
        return []
    top1 = cells.pivot_table(index=["sparsity", "mask", "model"], columns="allocation", values="one_shot_mean").dropna()
    gains = (top1[CAP] - top1[UNIFORM]).groupby(["sparsity", "mask"]).mean()
    told = []
    for sparsity, part in gains.groupby("sparsity"):
        masks = sorted(part.droplevel("sparsity").items(), key=lambda gain: method_order(str(gain[0])))
        told.append(f"{percent(sparsity)}: {', '.join(f'{mask} {gain:+.2f}' for mask, gain in masks)}")
    statement = f"One-shot top-1 that CAP's layer sparsities gain over equal ones, in points, {_mean_over(top1)}"
    return [Finding(statement=statement, text=f"{'; '.join(told)}.")]


def _mean_over(top1: pd.DataFrame) -> str:
    """Returns `mean of 3 models` of a table that has the models in its index."""
    models = top1.index.get_level_values("model").nunique()
    return f"mean of {models} model{'s' if models > 1 else ''}"
