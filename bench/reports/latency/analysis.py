"""Ratios and tables of measured times of inference. Reads parquet alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.reports.common.text import mebibytes, seconds
from bench.reports.sweep.summary import plain, summarise, valid_cells
from bench.results.folders import source
from bench.results.labels import CAP, FAMILY_ORDER, percent
from bench.results.store import Store
from bench.results.timings import TIMED
from bench.results.tuned import AUTHORS

BASELINE, SPARSE = "eager", "sparse"
CELL = ["model", "threads", "batch"]


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
    """Returns what the embedded models keep when CAP prunes them at tuned settings, from Table 1.

    Returns:
        Columns family, model, sparsity, `one_shot` and `finetuned`: the relative drop of top-1 in percent, means over
        seeds, empty for what was not run; and `seeded`, whether these are several dense models. No rows where there is
        no Table 1.
    """
    store = Store(source("embedded/table1.parquet", results), "embedded", "table1")
    columns = {"one_shot_rel_drop": "one_shot", "finetuned_rel_drop": "finetuned"}
    shown = ["family", "model", "sparsity", *columns.values(), "seeded"]
    if not store.collected.exists():
        return pd.DataFrame(columns=shown)
    rows = store.read()
    cells = valid_cells(summarise(rows[rows["setting"] != AUTHORS]))
    cells = cells[plain(cells) & (cells["method"] == CAP)].rename(columns=columns)
    return cells.assign(seeded=bool(rows["dense_seed"].notna().any()))[shown].reset_index(drop=True)


def ratio_text(value: float) -> str:
    """Formats a ratio; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.2f}"


def _span(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:.2f}-{high:.2f}"


def _rate(macs: float) -> str:
    return "" if pd.isna(macs) else f"{macs / 1e9:.3g}"


def _share(fraction: float) -> str:
    return "" if pd.isna(fraction) else f"{100 * fraction:.0f} %"


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
            "to eager": ratio_text(row["to_eager"]),
            "to eager, quartiles": _span(row["to_eager_low"], row["to_eager_high"]),
            "to best dense": ratio_text(row["to_dense"]),
            "to best dense, quartiles": _span(row["to_dense_low"], row["to_dense_high"]),
            "GMAC/s": _rate(row["macs"] / row["p50"]),
            "of peak": ""
            if pd.isna(row["macs"] / row["p50"])
            else percent(row["macs"] / row["p50"] / row["peak_macs"]),
            "rounds": "" if pd.isna(row["rounds"]) else f"{row['rounds']:.0f}",
            "build": "" if pd.isna(row["build_seconds"]) else seconds(row["build_seconds"]),
            "load": "" if pd.isna(row["load_seconds"]) else seconds(row["load_seconds"]),
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
        f"{_engine(row)} {row['status'] if row['status'] != TIMED else ratio_text(row['to_eager'])}"
        for _, row in compared[compared["engine"] != BASELINE].iterrows()
    ]
    return f"{BASELINE} {seconds(compared.loc[compared['engine'] == BASELINE, 'p50'].iloc[0])}; {', '.join(words)}"


def sparse_rows(compared: pd.DataFrame) -> pd.DataFrame:
    """Returns what was timed of the suite's sparse engine, with the most threads that were measured."""
    rows = compared[(compared["engine"] == SPARSE) & (compared["status"] == TIMED)]
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
            "best dense": f"{best['engine']}, {seconds(best['p50'])} ({ratio_text(best['to_eager'])})",
        }
        for _, row in rows.iterrows():
            name = percent(row["sparsity_target"]) if row["sparsity_target"] else "0 % (control)"
            line[name] = f"{ratio_text(row['to_dense'])} ({ratio_text(row['to_eager'])})"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")
