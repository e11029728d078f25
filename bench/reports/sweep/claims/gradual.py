"""Claim C7: one gradual run gives the models at all sparsities."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent, joined
from bench.reports.sweep.claims.finding import PERCENT, Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import absent_architectures, judged_cells, supervised_cap, verdict
from bench.reports.sweep.claims.wording import by_sparsity, in_table_order
from bench.reports.sweep.summary import SweepResults, judged_rows, series
from bench.results.labels import CAP, GLOBAL, percent
from bench.statistics.estimate import Estimate
from bench.statistics.outcomes import Outcome, judge, overall

ROW = ProtocolRow(
    claim="C7",
    statement="one gradual run yields the checkpoints for 50, 60, 75, 80 and 90 %",
    cells="each architecture x sparsity: the run's checkpoint against a dedicated run that ends there after as many "
    "epochs",
    confirmed="loss against the dedicated run lower than 1 % of its top-1 in every cell",
    refuted="higher than 1 % in a cell",
    undecided="else; also without dedicated runs",
)
SPARSITIES = (0.5, 0.6, 0.75, 0.8, 0.9)


def one_run_gives_all_sparsities(results: SweepResults) -> list[Finding]:
    """Returns whether each gradual run of CAP gave the models at all sparsities, what they lose, and CAP's lead.

    With several dense models of an architecture its checkpoints are judged as docs/protocol.md says.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without a gradual run of CAP to several sparsities.

    The run is the one with the most checkpoints. At its last sparsity it is itself the run that ends there, which is no
    evidence, so that no dedicated run is needed.
    """
    rows = supervised_cap(judged_rows(results.done))
    tuned = rows[(rows["regime"] == "gradual") & (rows["phase"] == "finetuned") & (rows["kind"] == GLOBAL)]
    states = tuned.groupby("trial_id")["sparsity"].transform("nunique")
    runs = tuned[(states > 1) & (states == states.groupby(tuned["model"]).transform("max"))]
    if runs.empty:
        return []
    last = tuned.groupby("trial_id")["sparsity"].transform("max") == tuned["sparsity"]
    dedicated = tuned[last & ~tuned["trial_id"].isin(runs["trial_id"])]
    losses: dict[str, Estimate] = {}
    lacking = []
    for model, own in runs.groupby("model", sort=False):
        for sparsity in SPARSITIES:
            name, checkpoint = f"{model} at {percent(sparsity)}", own[own["sparsity"] == sparsity]
            known = dedicated[(dedicated["model"] == model) & (dedicated["sparsity"] == sparsity)]
            known = known[known["epoch"].isin(checkpoint["epoch"])]
            loss = results.estimator.loss(checkpoint, known) if len(checkpoint) and len(known) else None
            if loss is not None:
                losses[name] = loss
            elif sparsity != own["sparsity"].max():
                lacking.append(name)
    tests = judge(list(losses.values()))
    outcome = overall([test.outcome for test in tests])
    absent = absent_architectures(runs["family"])
    if (lacking or absent) and outcome is Outcome.HOLDS:
        outcome = Outcome.UNDECIDED
    notes = [f"No dedicated run for {joined(lacking)}."] if lacking else []
    notes += [f"There is no result on {joined(absent)}."] if absent else []
    quantity = "Loss of CAP's checkpoints in percent of the dedicated run's top-1"
    return [verdict(ROW, outcome, quantity, judged_cells(losses, tests, PERCENT), notes)]


def _measured(results: SweepResults) -> list[Finding]:
    """Returns how many runs gave all checkpoints."""
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
        Finding(
            claim="C7",
            statement=f"one gradual run gives the models at {joined(percent(sparsity) for sparsity in sparsities)}",
            outcome=extent(whole),
            joint=", ",
            text=f"{whole.sum()} of {len(whole)} runs of CAP gave all {len(sparsities)}. Relative drop of CAP, mean "
            f"over models (and how many lose at most 1 %): {numbers}.{_leads(tuned)}",
        )
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
