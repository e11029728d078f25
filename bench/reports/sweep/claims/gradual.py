"""Claim C7: one gradual run gives the models at all sparsities."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent, joined
from bench.reports.sweep.claims.wording import by_sparsity, in_table_order
from bench.reports.sweep.summary import SweepResults, series
from bench.results.labels import CAP, GLOBAL, percent


def one_run_gives_all_sparsities(results: SweepResults) -> list[str]:
    """Returns whether each gradual run of CAP gave the models at all sparsities, what they lose, and CAP's lead."""
    rows, done = results.rows, results.done
    tuned = done[(done["regime"] == "gradual") & (done["phase"] == "finetuned") & (done["kind"] == GLOBAL)]
    own = tuned[tuned["method"] == CAP]
    if own["variant"].nunique() != 1 or own["sparsity"].nunique() < 2:
        return []
    sparsities = sorted(own["sparsity"].unique())
    runs = rows.loc[(rows["pruner"] == "cap") & (rows["regime"] == "gradual"), "trial_id"].unique()
    whole = own.groupby("trial_id")["sparsity"].nunique().reindex(runs, fill_value=0) == len(sparsities)
    drops = own.groupby(["sparsity", "model"])["top1_rel_drop"].mean()
    numbers = ", ".join(
        f"{percent(sparsity)}: {part.mean():.2f} % ({(part <= 1).sum()} of {len(part)} models)"
        for sparsity, part in drops.groupby("sparsity")
    )
    return [
        f"C7 (one gradual run gives the models at {joined(percent(sparsity) for sparsity in sparsities)}): "
        f"{extent(whole)}, {whole.sum()} of {len(whole)} runs of CAP gave all {len(sparsities)}. Relative drop of "
        f"CAP, mean over models (and how many lose at most 1 %): {numbers}.{_leads(tuned)}"
    ]


def _leads(tuned: pd.DataFrame) -> str:
    """Returns CAP's lead over each of the other pruners, by the seeds that both have; empty where there is none."""
    pairs = tuned.assign(series=series(tuned).where(tuned["method"] != CAP, CAP)).pivot_table(
        index=["model", "sparsity", "seed"], columns="series", values="top1"
    )
    leads = []
    for rival in in_table_order(tuned, set(pairs) - {CAP}):
        lead = (pairs[CAP] - pairs[rival]).dropna()
        if len(lead):
            leads.append(f"over {rival} {by_sparsity(lead.groupby('sparsity').mean())}")
    return f" Lead of CAP in points of top-1, mean over models: {'; '.join(leads)}." if leads else ""
