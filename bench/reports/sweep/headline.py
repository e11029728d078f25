"""Sparsity at 1 % relative drop, by pruner and model. Reads parquet alone."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.reports.sweep.estimates import Accuracy
from bench.reports.sweep.leads import SCOPES
from bench.reports.sweep.summary import SweepResults, seeded_rows, series
from bench.results.labels import PHASES, method_order
from bench.statistics.headline import Headline, sparsity_at_drop

CURVE = 3  # measured sparsities from which on there is a curve


@dataclass(frozen=True)
class ModelHeadline:
    """Sparsity at 1 % relative drop of one pruner on one model.

    Attributes:
        name: Name of the pruner, with its variant.
        method: Name of the method.
        model: Name of the model.
        phase: Phase of the models.
        headline: Sparsity with its interval.
    """

    name: str
    method: str
    model: str
    phase: str
    headline: Headline


def headlines(results: SweepResults) -> list[ModelHeadline]:
    """Returns the sparsities at 1 % relative drop of every curve with dense seeds, pruners in the order of tables.

    A curve has at least three sparsities of single weights, with at least two dense seeds each, one-shot or after the
    fine-tune.
    """
    rows = seeded_rows(results.done)
    rows = rows[(rows["regime"] == "one_shot") & rows["phase"].isin(["one_shot", "finetuned"])]
    rows = rows[rows["kind"].isin(SCOPES) & (rows["sparsity"] > 0)]
    rows = rows.assign(series=series(rows), place=rows["method"].map(method_order))
    seeds = rows.groupby(["series", "model", "phase", "pattern"])["dense_seed"].transform("nunique")
    rows = rows[seeds > 1].sort_values(["place", "rank"], kind="stable")
    curves = {
        key: list(part.groupby("sparsity"))
        for key, part in rows.groupby(["series", "method", "model", "phase"], sort=False)
        if part["sparsity"].nunique() >= CURVE
    }
    points = [point for curve in curves.values() for _, point in curve]
    results.estimator.load(Accuracy.of(point, dense) for point in points for dense in (False, True))
    return [
        ModelHeadline(
            str(name),
            str(method),
            str(model),
            str(phase),
            sparsity_at_drop([at for at, _ in curve], [results.estimator.drop(point) for _, point in curve]),
        )
        for (name, method, model, phase), curve in curves.items()
    ]


def headline_table(found: list[ModelHeadline]) -> pd.DataFrame:
    """Returns the sparsities as text, one row a pruner and phase and one column a model; empty without any."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for one in found:
        line = lines.setdefault((one.phase, one.name), {"pruner": one.name, "phase": PHASES[one.phase]})
        line[one.model] = str(one.headline)
    table = pd.DataFrame(sorted(lines.values(), key=lambda line: list(PHASES.values()).index(line["phase"]))).fillna("")
    return table.drop(columns="phase") if not table.empty and table["phase"].nunique() == 1 else table
