"""Shares of mask and update in the lead of one pruner over another."""

from __future__ import annotations

from bench.reports.sweep.attribution import NO_UPDATE, composed
from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import CAP, LABELS, percent

BASE, JOINT = LABELS["magnitude"], "joint"


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
    models = complete.index.get_level_values("model").nunique()
    over = f"{models} model{'s' if models > 1 else ''}"
    gained = "One-shot top-1 that CAP's mask and the joint update gain over magnitude without an update, in points"
    return [Finding(statement=f"{gained}, mean of {over}", text=f"{'; '.join(gains)}.")] if gains else []
