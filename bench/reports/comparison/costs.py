"""Costs of the pruners of a comparison: fit and prune, per pattern and in all. Reads parquet alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.reports.common.text import mebibytes, seconds
from bench.results.labels import model_labels
from bench.results.validity import INVALID

COLUMNS = ["model", "label", "pattern", "fit_seconds", "prune_seconds", "total_seconds", "peak_memory_bytes"]
ALL = "all"  # in the place of a pattern: all patterns of the comparison together
EXPLANATION = """\
Fit: what a pruner does before it knows the pattern, once for all patterns, as if it had shared nothing with the others;
what a pattern makes it fit anew on the way counts as fit, too. Prune: from the fit to the weights at the pattern, with
all tuning that the pruner does there. All: each fit counted once and every prune. Seconds of wall time, means over
seeds; loading, evaluation and fine-tuning are not in it. Memory is the most in use while a fit ran, largest over seeds:
on a processor that of the whole process, with libraries, data and what trials before it left, so that only large
differences mean something.
"""


def costs(rows: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Returns what pruning cost on each model.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them, with each pruner's label in `label`.
        labels: Labels of the pruners, in order.

    Returns:
        One row per model, pruner and pattern, and one with the pattern ALL: `model`, `label`, `pattern`,
        `fit_seconds`, `prune_seconds`, `total_seconds` (their sum), means over seeds, and `peak_memory_bytes`, largest
        over seeds. Of a model that is invalid the costs count, too. No rows where nothing was timed.
    """
    timed = rows[rows["status"].isin(["done", INVALID]) & rows["pattern"].notna() & rows["fit_seconds"].notna()]
    timed = timed.assign(prune_seconds=pd.to_numeric(timed["prune_seconds"]).fillna(0.0))
    shots = timed.drop_duplicates(["trial_id", "pattern"])  # a model's phases repeat the cost of its pruning
    lines = []
    for model in dict.fromkeys(shots["model"]):
        for label in labels:
            part = shots[(shots["model"] == model) & (shots["label"] == label)]
            if part.empty:
                continue
            for pattern, own in part.groupby("pattern", sort=False):
                lines.append(_line(model, label, str(pattern), own["fit_seconds"], own["prune_seconds"], own))
            fits = part.drop_duplicates(["trial_id", "fit_seconds"]).groupby("seed")["fit_seconds"].sum()
            lines.append(_line(model, label, ALL, fits, part.groupby("seed")["prune_seconds"].sum(), part))
    return pd.DataFrame(
        lines,
        columns=["model", "label", "pattern", "fit_seconds", "prune_seconds", "total_seconds", "peak_memory_bytes"],
    )


def _line(
    model: str, label: str, pattern: str, fits: pd.Series, prunes: pd.Series, rows: pd.DataFrame
) -> dict[str, str | float]:
    fit, prune = fits.mean(), prunes.mean()
    return {
        "model": model,
        "label": label,
        "pattern": pattern,
        "fit_seconds": fit,
        "prune_seconds": prune,
        "total_seconds": fit + prune,
        "peak_memory_bytes": rows["peak_memory_bytes"].max(),
    }


def cost_table(found: pd.DataFrame) -> pd.DataFrame:
    """Returns costs as text; model and pruner stand in their first row alone.

    Args:
        found: As `costs` returns them.
    """
    lines: list[dict[str, str]] = []
    names = model_labels(found["model"])
    for model, of_model in found.groupby("model", sort=False):
        for label, part in of_model.groupby("label", sort=False):
            for number, row in enumerate(part.itertuples()):
                lines.append(
                    {
                        "model": "" if number else names[str(model)],
                        "pruner": "" if number else str(label),
                        "pattern": row.pattern,
                        "fit": seconds(row.fit_seconds),
                        "prune": seconds(row.prune_seconds),
                        "fit + prune": seconds(row.total_seconds),
                        "peak memory": mebibytes(row.peak_memory_bytes),
                    }
                )
    return pd.DataFrame(lines)
