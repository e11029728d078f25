"""FastCAP against CAP: accuracy and time of the fit."""

from __future__ import annotations

import pandas as pd

from bench.reports.sweep.claims.finding import Finding
from bench.reports.sweep.claims.wording import by_sparsity
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import CAP, FASTCAP


def fastcap_against_cap(results: SweepResults) -> list[Finding]:
    """Returns accuracy and time of the fit of FastCAP against CAP's at the same patterns."""
    done = results.done
    shots = done[(done["phase"] == "one_shot") & done["method"].isin([CAP, FASTCAP])]
    if (shots.groupby("method")["variant"].nunique() > 1).any():
        return []
    index = ["model", "pattern", "sparsity", "seed"]
    tops = shots.pivot_table(index=index, columns="method", values="top1")
    if not {CAP, FASTCAP} <= set(tops) or (tops := tops.dropna()).empty:
        return []
    difference = tops[FASTCAP] - tops[CAP]
    cells = difference.groupby(["model", "pattern"]).mean()
    compared = shots[shots["model"].isin(cells.index.get_level_values("model"))]
    return [
        Finding(
            statement="FastCAP against CAP at the same patterns, one-shot",
            text=f"FastCAP's mean is at least as high in {(cells >= 0).sum()} of {len(cells)} cells. Difference in "
            f"points of top-1, mean over models: {by_sparsity(difference.groupby('sparsity').mean())}."
            f"{_fits(compared)}",
        )
    ]


def _fits(shots: pd.DataFrame) -> str:
    """Returns how the times of the fits compare on each model; empty where they were not measured for both."""
    shots = shots[shots["fit_seconds"].notna()]
    times = shots.pivot_table(index="model", columns="method", values="fit_seconds", sort=False).dropna()
    if times.shape[1] < 2 or times.empty:
        return ""
    ratios = times[CAP] / times[FASTCAP]
    numbers = ", ".join(
        f"{model} {times.loc[model, FASTCAP]:.3g} s against {times.loc[model, CAP]:.3g} s ({ratio:.2g} times as fast)"
        for model, ratio in ratios.items()
    )
    return f" Its fit is faster on {(ratios > 1).sum()} of {len(ratios)} models: {numbers}."
