"""Parts of the sentences on claims."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bench.reports.sweep.summary import series
from bench.results.labels import method_order, percent


def ranking(cells: pd.DataFrame, phase: str) -> str:
    """Returns pruners with their mean top-1 over the models that all have, best first; empty for fewer than two.

    Args:
        cells: Cells of a summary.
        phase: Name of the phase.
    """
    top1 = cells.assign(series=cells["method"] + (" " + cells["variant"]).str.rstrip())
    top1 = top1[top1[f"{phase}_n"].notna()].pivot_table(index="model", columns="series", values=f"{phase}_mean")
    means = top1.dropna().mean().dropna().sort_values(ascending=False, kind="stable")
    return ", ".join(f"{name} {mean:.2f}" for name, mean in means.items()) if len(means) > 1 else ""


def in_table_order(rows: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Returns names of series in the order of tables.

    Args:
        rows: Rows of finished models, or cells of a summary, in which the series are.
        names: Names of series, see `bench.reports.sweep.summary.series`.
    """
    places = dict(zip(series(rows), zip(rows["method"].map(method_order), rows["rank"], strict=True), strict=True))
    return sorted(names, key=lambda name: places[name])


def by_sparsity(values: pd.Series) -> str:
    """Formats differences of top-1 by sparsity, in points.

    Args:
        values: Differences, indexed by sparsity.
    """
    return ", ".join(f"{percent(sparsity)}: {value:+.2f}" for sparsity, value in values.items())
