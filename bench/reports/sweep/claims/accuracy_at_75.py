"""Claim C1: CAP keeps its accuracy at 75 % sparsity."""

from __future__ import annotations

from bench.reports.common.text import extent
from bench.reports.sweep.claims.finding import Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import by_model, limit_verdict, supervised_cap
from bench.reports.sweep.summary import SweepResults, judged_rows, plain
from bench.results.labels import CAP

ROW = ProtocolRow(
    claim="C1",
    statement="75 % unstructured sparsity costs at most 1 % of the top-1, on ViT, CNN and hybrid",
    cells="each architecture at 75 %, all layers together, after the fine-tune",
    confirmed="r lower than 1 % on each",
    refuted="r higher than 1 % on one",
)


def keeps_accuracy_at_75(results: SweepResults) -> list[Finding]:
    """Returns whether CAP keeps top-1 within 1 % relative of dense at 75 % sparsity, after fine-tuning.

    With several dense models of an architecture it is judged as docs/protocol.md says; with one it is told what was
    measured.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none without a fine-tuned model."""
    rows = supervised_cap(judged_rows(results.done))
    rows = rows[plain(rows) & (rows["sparsity"] == 0.75) & (rows["phase"] == "finetuned")]
    if rows.empty:
        return []
    drops = {name: results.estimator.drop(part) for name, part in by_model(rows).items()}
    return [limit_verdict(ROW, drops, rows["family"], "Relative drop r of CAP at 75 % after the fine-tune")]


def _measured(results: SweepResults) -> list[Finding]:
    """Returns on how many models the mean drop is at most 1 %, whatever the chance of it."""
    summary = results.summary
    cells = summary[plain(summary) & (summary["method"] == CAP) & (summary["sparsity"] == 0.75)]
    cells = cells[cells["finetuned_n"].notna()]
    if cells.empty:
        return []
    holds, without = cells["finetuned_rel_drop"] <= 1, cells["one_shot_rel_drop"] <= 1
    what = "models and variants" if cells["variant"].any() else "models"
    numbers = ", ".join(
        f"{' '.join(filter(None, (row.model, row.variant)))} {row.finetuned_rel_drop:.2f} % "
        f"(before it {row.one_shot_rel_drop:.2f} %)"
        for row in cells.itertuples()
    )
    return [
        Finding(
            claim="C1",
            statement="CAP at 75 % loses at most 1 % relative top-1",
            outcome=extent(holds),
            joint=", ",
            text=f"on {holds.sum()} of {len(holds)} {what} after the short fine-tune and on {without.sum()} before it. "
            f"Relative drop: {numbers}.",
        )
    ]
