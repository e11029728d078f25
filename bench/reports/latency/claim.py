"""Claim C5: sparsity that costs no accuracy makes inference on a CPU faster. Reads parquet alone."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.latency.analysis import ratio_text, sparse_rows
from bench.reports.sweep.claims.finding import Finding, ProtocolRow
from bench.results.labels import percent
from bench.statistics.outcomes import Outcome

ROW = ProtocolRow(
    claim="C5",
    statement="1.5 to 2.4 times faster on a CPU without loss of accuracy",
    cells="each model, 4 cores, batch 64, against the best dense engine; the timed masks are those of the model whose "
    "accuracy is measured",
    confirmed="at a sparsity where those masks' r is lower than 1 %, speed-up above 1.5 by its interval, on each",
    refuted="below 1.5 by its interval at every such sparsity, on one",
    undecided="else; also where the accuracy of the same masks or four cores are missing",
)
CLAIMED = (1.5, 2.4)  # times as fast
ALLOWED = 1.0  # percent of relative top-1 that may be lost "without accuracy loss", as in claim C1
CORES, BATCH = 4, 64


def lossless_sparsities(compared: pd.DataFrame, drops: pd.DataFrame) -> dict[str, tuple[float, str]]:
    """Returns for each model up to which of its measured sparsities accuracy is kept, and by which evidence.

    Args:
        compared: Compared rows, as `analyse` returns them.
        drops: Losses of accuracy, as `accuracy` returns them.

    Returns:
        {model: (highest sparsity at which the embedded model of its family loses at most ALLOWED, in words)}; a model
        that has none, or whose family is not embedded, is left out.
    """
    best = drops.assign(drop=drops[["one_shot", "finetuned"]].min(axis=1))
    found = {}
    for (model, family), rows in sparse_rows(compared).groupby(["model", "family"], sort=False):
        fine = best[
            (best["family"] == family) & best["sparsity"].isin(rows["sparsity_target"]) & (best["sparsity"] > 0)
        ]
        fine = fine[fine["drop"] <= ALLOWED]
        if len(fine):
            highest = fine.loc[fine["sparsity"].idxmax()]
            evidence = f"{percent(highest['sparsity'])}, where the embedded {highest['model']} loses"
            found[model] = (highest["sparsity"], f"{evidence} {highest['drop']:.2f} %")
    return found


def speedup_claim(compared: pd.DataFrame, drops: pd.DataFrame) -> Finding | None:
    """Returns the verdict on claim C5: sparsity that costs no accuracy makes CPU inference 1.5 to 2.4 times as fast.

    Where accuracy is that of several dense models, docs/protocol.md judges by the accuracy of the masks that were
    timed. Those are of random weights, so that nothing is decided.

    Args:
        compared: Compared rows, as `bench.reports.latency.analysis.analyse` returns them.
        drops: Losses of accuracy, as `bench.reports.latency.analysis.accuracy` returns them.

    Returns:
        The finding, or None if there is nothing to say on the claim.
    """
    return _judged(compared) if drops["seeded"].any() else _measured(compared, drops)


def _judged(compared: pd.DataFrame) -> Finding | None:
    """Returns that the claim is undecided, with the speed-ups at the claim's batch; None where none was measured."""
    cells = sparse_rows(compared)
    cells = cells[(cells["batch"] == BATCH) & (cells["sparsity_target"] > 0)]
    if cells.empty:
        return None
    threads = cells["threads"].iloc[0]
    cores = f" {threads} threads, not {CORES} cores, were used." if threads != CORES else ""
    numbers = "; ".join(
        f"{model} "
        + ", ".join(
            f"{percent(row.sparsity_target)} {ratio_text(row.to_dense)} ({ratio_text(row.to_dense_low)} to "
            f"{ratio_text(row.to_dense_high)})"
            for row in rows.itertuples()
        )
        for model, rows in cells.groupby("model", sort=False)
    )
    return Finding(
        claim=ROW.claim,
        statement=ROW.statement,
        outcome=Outcome.UNDECIDED.value,
        rule=ROW,
        text=f"The timed masks are those of random weights, whose accuracy is not measured.{cores} Times as fast as "
        f"the best dense engine at batch {BATCH}, with quartiles over rounds: {numbers}.",
    )


def _measured(compared: pd.DataFrame, drops: pd.DataFrame) -> Finding | None:
    """Returns in how many cells the sparse engine is fast enough; None where no accuracy is known."""
    sparse, limits = sparse_rows(compared), lossless_sparsities(compared, drops)
    limit = sparse["model"].map({model: sparsity for model, (sparsity, _) in limits.items()})
    cells = sparse[sparse["sparsity_target"] == limit]
    if cells.empty:
        return None
    low, high = CLAIMED
    dense, eager = cells["to_dense"] >= low, cells["to_eager"] >= low
    numbers = "; ".join(
        f"{model} at {limits[model][1]}: " + ", ".join(f"batch {row.batch} {_pair(row)}" for row in rows.itertuples())
        for model, rows in cells.groupby("model", sort=False)
    )
    spans = ", ".join(
        f"{percent(sparsity)}{'' if sparsity else ' (control)'} {_range(rows['to_dense'])} ({_range(rows['to_eager'])})"
        for sparsity, rows in sparse.groupby("sparsity_target")
    )
    threads, processor = cells["threads"].iloc[0], cells["processor"].iloc[0]
    text = (
        f"At the highest sparsity that costs at most {ALLOWED:g} % relative top-1, the sparse engine is at least "
        f"{low:g} times as fast as the best dense engine in {dense.sum()} of {len(cells)} cells (model and batch), as "
        f"eager in {eager.sum()}. To the best dense engine (to eager): {numbers}. Over all cells: {spans}. Measured "
        f"with {threads} thread{'s' if threads > 1 else ''} of {processor}; the claim is for 4 cores and batch 64."
    )
    statement = f"{low:g} to {high:g} times faster CPU inference without accuracy loss"
    return Finding(claim="C5", statement=statement, outcome=extent(dense), text=text)


def _pair(row: object) -> str:
    return f"{ratio_text(row.to_dense)} ({ratio_text(row.to_eager)})"  # type: ignore[attr-defined]


def _range(ratios: pd.Series) -> str:
    return f"{ratios.min():.2f} to {ratios.max():.2f}" if len(ratios) > 1 else ratio_text(ratios.iloc[0])
