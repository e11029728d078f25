"""Claim C2: CAP beats the other pruners one-shot."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent, joined
from bench.reports.sweep.claims.wording import by_sparsity, in_table_order
from bench.reports.sweep.summary import SweepResults, plain, series
from bench.results.labels import CAP, percent


def leads_one_shot(results: SweepResults) -> list[str]:
    """Returns whether CAP beats the other pruners one-shot, and by more at high sparsity.

    In each cell (model and sparsity) CAP is set against the best of the others by mean top-1, and seed by seed.
    """
    done = results.done
    shots = done[plain(done) & (done["phase"] == "one_shot")]
    if shots.loc[shots["method"] == CAP, "variant"].nunique() != 1:
        return []
    shots = shots.assign(series=series(shots).where(shots["method"] != CAP, CAP))
    cells = []
    for (_, sparsity), part in shots.groupby(["model", "sparsity"]):
        tops = part.pivot_table(index="seed", columns="series", values="top1").dropna()
        if CAP in tops and tops.shape[1] > 1 and len(tops):
            rivals = tops.drop(columns=CAP)
            best = rivals.mean().idxmax()
            lead = tops[CAP].mean() - rivals[best].mean()
            cells.append((sparsity, lead, (tops[CAP] > tops[best]).all(), set(rivals)))
    if not cells:
        return []
    table = pd.DataFrame(cells, columns=["sparsity", "lead", "every_seed", "rivals"])
    lead, leads = table["lead"], table.groupby("sparsity")["lead"].mean()
    rivals = in_table_order(shots, set().union(*table["rivals"]))
    grows = (
        f" It is larger at {percent(leads.idxmax())} than at the lowest sparsity."
        if leads.idxmax() != leads.index[0]
        else " It is largest at the lowest sparsity."
    )
    return [
        f"C2 (CAP beats {joined(rivals)} one-shot): {extent(lead > 0)}, CAP's mean is the highest in "
        f"{(lead > 0).sum()} of {len(lead)} cells, and in {table['every_seed'].sum()} it beats the best other pruner "
        f"with every seed. Lead over the best other pruner in points of top-1, mean over models: {by_sparsity(leads)}; "
        f"smallest {lead.min():+.2f}, largest {lead.max():+.2f}.{grows}"
    ]
