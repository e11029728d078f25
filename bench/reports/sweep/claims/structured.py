"""The structured part of claim C4: CAP prunes whole units, and single weights of what is left."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.claims.wording import ranking
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import CAP, UNITS, UNITS_THEN, pattern_in_words
from cap.patterns import UnitsThen, parse_pattern

SAME = 1e-4  # relative difference of outputs up to which a cut model computes the same


def prunes_structures(results: SweepResults) -> list[str]:
    """Returns whether CAP's models are smaller and still accurate with units gone, and with single weights on top."""
    done, summary = results.done, results.summary
    own = done[(done["method"] == CAP) & done["kind"].isin((UNITS, UNITS_THEN))]
    if own.empty:
        return []
    smaller = (own["params_small"] < own["params_dense"]) & (own["cut_deviation"] <= SAME) & (own["violations"] == 0)
    text = (
        f"C4 (in its structured part: CAP removes whole units, the smaller models run): {extent(smaller)}, "
        f"{smaller.sum()} of {len(smaller)} cut models have fewer parameters and the outputs of those with zeros."
    )
    for pattern, cells in summary[summary["kind"] == UNITS].groupby("pattern", sort=False):
        order, times = ranking(cells, "one_shot"), own[own["pattern"] == pattern]
        faster = (times["latency_dense"] / times["latency_small"]).mean()
        fewer = (times["macs_small"] / times["macs_dense"]).mean()
        text += (
            f" {pattern_in_words(str(pattern))}: mean one-shot top-1 over models {order or _mean(cells)}; CAP's models "
            f"have {100 * fewer:.0f} % of the multiply-adds and run {faster:.2f} times as fast as dense."
        )
    return [text, *_on_top(own)]


def _mean(cells: pd.DataFrame) -> str:
    return ", ".join(f"{row.method} {row.one_shot_mean:.2f}" for row in cells.itertuples())


def _on_top(own: pd.DataFrame) -> list[str]:
    """Returns what unstructured pruning costs a model that has lost units."""
    both = own[own["kind"] == UNITS_THEN]
    parsed = both["pattern"].map(parse_pattern)
    keys = ["model", "seed", "variant"]
    before = own[own["kind"] == UNITS].set_index([*keys, "pattern"])["top1"]
    if both.empty or before.empty:
        return []
    units = [str(pattern.units) for pattern in parsed if isinstance(pattern, UnitsThen)]
    pairs = both.assign(units=units).join(before.rename("before"), on=[*keys, "units"]).dropna(subset=["before"])
    if pairs.empty:
        return []
    cells = pairs.groupby(["pattern", "model"], sort=False)[["top1", "before"]].mean()
    holds = cells["top1"] >= 0.99 * cells["before"]
    change = (cells["top1"] - cells["before"]).groupby("pattern", sort=False).mean()
    listed = ", ".join(f"{pattern_in_words(str(pattern))} {value:+.2f}" for pattern, value in change.items())
    return [
        "C4 (in its structured part: unstructured pruning on top costs a model that lost units at most 1 % relative "
        f"top-1): {extent(holds)}, in {holds.sum()} of {len(holds)} cells (model and pattern) one-shot. Change in "
        f"points of top-1, mean over models: {listed}."
    ]
