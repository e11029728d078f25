"""The structured part of claim C4: CAP prunes whole units, and single weights of what is left."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from bench.reports.common.text import extent
from bench.reports.sweep.claims.finding import Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import absent_architectures, by_model, limit_verdict, supervised_cap
from bench.reports.sweep.claims.wording import ranking
from bench.reports.sweep.summary import SweepResults, judged_rows
from bench.results.labels import CAP, UNITS, UNITS_THEN, pattern_in_words
from bench.statistics.estimate import mean_of_units
from bench.statistics.outcomes import Outcome
from cap.patterns import UnitsThen, parse_pattern

ROW = ProtocolRow(
    claim="C4b",
    statement="compatible with structured pruning",
    cells="each architecture without the units whose removal saves a quarter of the multiply-adds, after the fine-tune",
    confirmed="r lower than 1 % on each, and the smaller model measured faster",
    refuted="r higher than 1 % on one, or none faster",
)
SAME = 1e-4  # relative difference of outputs up to which a cut model computes the same
SAVED, NEAR = 0.25, 0.05  # part of the multiply-adds, and how near to it whole units may come


def prunes_structures(results: SweepResults) -> list[Finding]:
    """Returns whether CAP's models are smaller and still accurate with units gone, and with single weights on top.

    With several dense models of an architecture accuracy and speed are judged as docs/protocol.md says.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without a fine-tuned model that lost a quarter of the multiply-adds.

    The smaller model is faster, or slower, where the interval of the speed-up over dense seeds leaves out 1.
    """
    rows = supervised_cap(judged_rows(results.done))
    rows = rows[(rows["kind"] == UNITS) & (rows["phase"] == "finetuned")]
    saved = 1 - (rows["macs_small"] / rows["macs_dense"]).groupby([rows["model"], rows["pattern"]]).transform("mean")
    rows = rows[(saved - SAVED).abs() <= NEAR]
    if rows.empty:
        return []
    parts = by_model(rows)
    drops = {name: results.estimator.drop(part) for name, part in parts.items()}
    quantity = "Relative drop r of CAP without units of a quarter of the multiply-adds, after the fine-tune"
    found = limit_verdict(ROW, drops, rows["family"], quantity)
    speeds, told = [], []
    for name, part in parts.items():
        ratios = (part["latency_dense"] / part["latency_small"]).dropna()
        low, high = mean_of_units(ratios.to_numpy()).interval() if len(ratios) > 1 else (float("nan"),) * 2
        speeds.append(Outcome.HOLDS if low > 1 else Outcome.FAILS if high < 1 else Outcome.UNDECIDED)
        told.append(
            f"{name} {ratios.mean():.2f} ({low:.2f} to {high:.2f})" if len(ratios) > 1 else f"{name} not measured"
        )
    outcome = Outcome(found.outcome)
    if outcome is Outcome.HOLDS and set(speeds) != {Outcome.HOLDS}:
        outcome = Outcome.UNDECIDED
    if set(speeds) == {Outcome.FAILS} and not absent_architectures(rows["family"]):
        outcome = Outcome.FAILS
    speed = "Fine-tuned models, times as fast as dense, mean with interval over dense seeds"
    text = f"{found.text} {speed}: {'; '.join(told)}.".strip()
    return [replace(found, outcome=outcome.value, text=text)]


def _measured(results: SweepResults) -> list[Finding]:
    """Returns how many cut models are smaller, and what their units and single weights on top cost."""
    done, summary = results.done, results.summary
    own = done[(done["method"] == CAP) & done["kind"].isin((UNITS, UNITS_THEN))]
    if own.empty:
        return []
    smaller = (own["params_small"] < own["params_dense"]) & (own["cut_deviation"] <= SAME) & (own["violations"] == 0)
    text = f"{smaller.sum()} of {len(smaller)} cut models have fewer parameters and the outputs of those with zeros."
    for pattern, cells in summary[summary["kind"] == UNITS].groupby("pattern", sort=False):
        order, times = ranking(cells, "one_shot"), own[own["pattern"] == pattern]
        faster = (times["latency_dense"] / times["latency_small"]).mean()
        fewer = (times["macs_small"] / times["macs_dense"]).mean()
        text += (
            f" {pattern_in_words(str(pattern))}: mean one-shot top-1 over models {order or _mean(cells)}; CAP's models "
            f"have {100 * fewer:.0f} % of the multiply-adds and run {faster:.2f} times as fast as dense."
        )
    statement = "in its structured part: CAP removes whole units, the smaller models run"
    first = Finding(claim="C4", statement=statement, outcome=extent(smaller), joint=", ", text=text)
    return [first, *_on_top(own)]


def _mean(cells: pd.DataFrame) -> str:
    return ", ".join(f"{row.method} {row.one_shot_mean:.2f}" for row in cells.itertuples())


def _on_top(own: pd.DataFrame) -> list[Finding]:
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
        Finding(
            claim="C4",
            statement="in its structured part: unstructured pruning on top costs a model that lost units at most 1 % "
            "relative top-1",
            outcome=extent(holds),
            joint=", ",
            text=f"in {holds.sum()} of {len(holds)} cells (model and pattern) one-shot. Change in points of top-1, "
            f"mean over models: {listed}.",
        )
    ]
