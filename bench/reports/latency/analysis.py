"""Ratios and tables of measured times of inference, and the verdict on claim C5. Reads parquet alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.reports.common.text import extent, mebibytes, seconds
from bench.reports.sweep.summary import plain, summarise, valid_cells
from bench.results.folders import source
from bench.results.labels import CAP, FAMILY_ORDER, percent
from bench.results.store import Store
from bench.results.timings import TIMED

BASELINE = "eager"
CELL = ["model", "threads", "batch"]
CLAIMED = (1.5, 2.4)  # times as fast, by claim C5
ALLOWED = 1.0  # percent of relative top-1 that may be lost "without accuracy loss", as in claim C1


def analyse(rows: pd.DataFrame) -> pd.DataFrame:
    """Compares the engines within each cell.

    Args:
        rows: Measured rows, as `bench.results.timings.TimingRow` describes them.

    Returns:
        The rows, by family, model, threads and batch, with: `rounds`, `p50` and `p95` (seconds), `throughput` (images
        a second), `best_dense` (the dense engine of the least median in the cell), and for the ratios `eager` and
        `dense` (to that one) how many times as fast as it the engine is: `to_<ratio>` of the medians, and
        `to_<ratio>_low`, `to_<ratio>_high`, the quartiles of the ratios within each round.
    """
    parts = [_compare(cell.reset_index(drop=True)) for _, cell in rows.groupby(CELL, sort=False)]
    whole = pd.concat(parts, ignore_index=True)
    speed = whole[whole["engine"] == BASELINE].groupby("model")["throughput"].max()
    whole["family_order"] = [FAMILY_ORDER.index(f) if f in FAMILY_ORDER else len(FAMILY_ORDER) for f in whole["family"]]
    whole["model_order"] = -whole["model"].map(speed)
    order = ["family_order", "model_order", *CELL]
    whole = whole.sort_values(order, kind="stable", ignore_index=True)
    return whole.drop(columns=["family_order", "model_order"])


def _compare(cell: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of one cell with the columns that `analyse` adds."""
    timed = cell["status"] == TIMED
    times = {place: np.asarray(cell["seconds"][place]) for place in cell.index[timed]}
    medians = pd.Series({place: np.median(values) for place, values in times.items()}, dtype=float)
    references = {"eager": cell.index[timed & (cell["engine"] == BASELINE)][0]}
    references["dense"] = medians[cell.index[timed & cell["dense"]]].idxmin()
    found = cell.assign(
        rounds=pd.Series({place: len(values) for place, values in times.items()}),
        p50=medians,
        p95=pd.Series({place: np.quantile(values, 0.95) for place, values in times.items()}),
        throughput=cell["batch"] / medians,
        best_dense=cell["engine"][references["dense"]],
    )
    for name, reference in references.items():
        rounds = {place: np.quantile(times[reference] / values, (0.25, 0.75)) for place, values in times.items()}
        found[f"to_{name}"] = medians[reference] / medians
        found[f"to_{name}_low"] = pd.Series({place: low for place, (low, _) in rounds.items()})
        found[f"to_{name}_high"] = pd.Series({place: high for place, (_, high) in rounds.items()})
    return found


def accuracy(results: Path) -> pd.DataFrame:
    """Returns what the embedded models keep when CAP prunes them, from Table 1.

    Returns:
        Columns family, model, sparsity, `one_shot` and `finetuned`: the relative drop of top-1 in percent, means over
        seeds, empty for what was not run; no rows where there is no Table 1.
    """
    store = Store(source("embedded/table1.parquet", results), "embedded", "table1")
    columns = {"one_shot_rel_drop": "one_shot", "finetuned_rel_drop": "finetuned"}
    if not store.collected.exists():
        return pd.DataFrame(columns=["family", "model", "sparsity", *columns.values()])
    cells = valid_cells(summarise(store.read()))
    cells = cells[plain(cells) & (cells["method"] == CAP)].rename(columns=columns)
    return cells[["family", "model", "sparsity", *columns.values()]].reset_index(drop=True)


def _ratio(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def _span(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:.2f}-{high:.2f}"


def _engine(row: pd.Series) -> str:
    """Returns an engine's name, that of the sparse one with its sparsity."""
    if row["dense"]:
        return row["engine"]
    return f"{row['engine']} {percent(row['sparsity_target'])}{'' if row['sparsity_target'] else ' (control)'}"


def _layers(row: pd.Series) -> str:
    return "" if pd.isna(row["layers_sparse"]) else f"{row['layers_sparse']:.0f} of {row['layers']:.0f}"


def detailed(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns all engines of all cells as text, ready to print; columns that are empty in every row are left out.

    Args:
        compared: Compared rows, as `analyse` returns them.
    """
    rows = compared.assign(layers=compared["layers_sparse"] + compared["layers_dense"])
    lines = [
        {
            "model": row["model"],
            "batch": str(row["batch"]),
            "threads": str(row["threads"]),
            "engine": _engine(row),
            "p50": "" if pd.isna(row["p50"]) else seconds(row["p50"]),
            "p95": "" if pd.isna(row["p95"]) else seconds(row["p95"]),
            "images/s": "" if pd.isna(row["throughput"]) else f"{row['throughput']:.3g}",
            "to eager": _ratio(row["to_eager"]),
            "to eager, quartiles": _span(row["to_eager_low"], row["to_eager_high"]),
            "to best dense": _ratio(row["to_dense"]),
            "to best dense, quartiles": _span(row["to_dense_low"], row["to_dense_high"]),
            "rounds": "" if pd.isna(row["rounds"]) else f"{row['rounds']:.0f}",
            "memory": mebibytes(row["memory_bytes"]),
            "sparse layers": _layers(row),
            "not timed since": "" if pd.isna(row["error"]) else row["error"],
        }
        for _, row in rows.iterrows()
    ]
    table = pd.DataFrame(lines)
    return table.loc[:, (table != "").any()]


def cell_summary(compared: pd.DataFrame) -> str:
    """Returns one line on a cell: eager's time, and how many times as fast as it the others are.

    Args:
        compared: Compared rows of one cell, as `analyse` returns them.
    """
    words = [
        f"{_engine(row)} {row['status'] if row['status'] != TIMED else _ratio(row['to_eager'])}"
        for _, row in compared[compared["engine"] != BASELINE].iterrows()
    ]
    return f"{BASELINE} {seconds(compared.loc[compared['engine'] == BASELINE, 'p50'].iloc[0])}; {', '.join(words)}"


def sparse_rows(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns what was timed of the sparse engine, with the most threads that were measured."""
    rows = compared[~compared["dense"].astype(bool) & (compared["status"] == TIMED)]
    return rows[rows["threads"] == compared["threads"].max()]


def compact(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns one line per model and batch: how many times as fast as the best dense engine, and in brackets as eager.

    Args:
        compared: Compared rows, as `analyse` returns them; of several numbers of threads the largest counts.
    """
    lines = []
    for (model, batch), rows in sparse_rows(compared).groupby(["model", "batch"], sort=False):
        cell = compared[(compared["model"] == model) & (compared["batch"] == batch)]
        cell = cell[cell["threads"] == compared["threads"].max()]
        best = cell[cell["engine"] == rows["best_dense"].iloc[0]].iloc[0]
        line = {
            "model": model,
            "batch": str(batch),
            "best dense": f"{best['engine']}, {seconds(best['p50'])} ({_ratio(best['to_eager'])})",
        }
        for _, row in rows.iterrows():
            name = percent(row["sparsity_target"]) if row["sparsity_target"] else "0 % (control)"
            line[name] = f"{_ratio(row['to_dense'])} ({_ratio(row['to_eager'])})"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


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


def speedup_claim(compared: pd.DataFrame, drops: pd.DataFrame) -> str | None:
    """Returns the verdict on claim C5: sparsity that costs no accuracy makes CPU inference 1.5 to 2.4 times as fast.

    Args:
        compared: Compared rows, as `analyse` returns them.
        drops: Losses of accuracy, as `accuracy` returns them.

    Returns:
        One paragraph with the numbers in it, or None if the claim cannot be decided.
    """
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
    return (
        f"C5 ({low:g} to {high:g} times faster CPU inference without accuracy loss): {extent(dense)}. At the highest "
        f"sparsity that costs at most {ALLOWED:g} % relative top-1, the sparse engine is at least {low:g} times as "
        f"fast as the best dense engine in {dense.sum()} of {len(cells)} cells (model and batch), as eager in "
        f"{eager.sum()}. To the best dense engine (to eager): {numbers}. Over all cells: {spans}. Measured with "
        f"{threads} thread{'s' if threads > 1 else ''} of {processor}; the claim is for 4 cores and batch 64."
    )


def _pair(row: object) -> str:
    return f"{_ratio(row.to_dense)} ({_ratio(row.to_eager)})"  # type: ignore[attr-defined]


def _range(ratios: pd.Series) -> str:
    return f"{ratios.min():.2f} to {ratios.max():.2f}" if len(ratios) > 1 else _ratio(ratios.iloc[0])
