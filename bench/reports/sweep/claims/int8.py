"""The INT8 part of claim C4: models that CAP pruned keep their accuracy in INT8."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import extent, kibibytes
from bench.reports.sweep.claims.finding import Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import by_model, limit_verdict, supervised_cap
from bench.reports.sweep.claims.wording import by_sparsity
from bench.reports.sweep.summary import SweepResults, judged_rows, plain
from bench.results.labels import CAP, PHASES, percent

ROW = ProtocolRow(
    claim="C4c",
    statement="compatible with INT8",
    cells="each architecture at 75 %: INT8 against the same model in single precision, trained alike",
    confirmed="the loss by INT8 lower than 1 % of the top-1 on each",
    refuted="higher than 1 % on one",
)
ALIKE = (("int8_finetuned", "finetuned"), ("int8", "one_shot"))  # INT8 and single precision, trained alike


def keeps_accuracy_in_int8(results: SweepResults) -> list[Finding]:
    """Returns what INT8 costs CAP's pruned models, and how small their files are.

    With several dense models of an architecture it is judged as docs/protocol.md says.
    """
    return _judged(results) if results.seeded else _measured(results)


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models, of the trained ones where there are such; none without INT8."""
    rows = supervised_cap(judged_rows(results.done))
    rows = rows[plain(rows) & (rows["sparsity"] == 0.75)]
    for int8, single in ALIKE:
        after, before = by_model(rows[rows["phase"] == int8]), by_model(rows[rows["phase"] == single])
        losses = {
            name: loss
            for name, part in after.items()
            if name in before and (loss := results.estimator.loss(part, before[name])) is not None
        }
        if losses:
            quantity = f"Loss of CAP's models at 75 % by INT8 in percent of their top-1, {PHASES[single]}"
            families = [after[name]["family"].iloc[0] for name in losses]
            return [limit_verdict(ROW, losses, families, quantity)]
    return []


def _measured(results: SweepResults) -> list[Finding]:
    """Returns in how many cells the mean loss is at most 1 %, whatever the chance of it."""
    done = results.done
    pairs = done.pivot_table(index=["method", "model", "sparsity", "pattern", "seed"], columns="phase", values="top1")
    if not {"one_shot", "int8"} <= set(pairs) or CAP not in pairs.index or pairs.loc[[CAP], "int8"].isna().all():
        return []
    cells = pairs.dropna(subset=["one_shot", "int8"]).groupby(["method", "model", "sparsity", "pattern"]).mean()
    own = cells.loc[CAP]
    holds = own["int8"] >= 0.99 * own["one_shot"]
    text = f"in {holds.sum()} of {len(holds)} cells (model and sparsity) without any training"
    if tuned_too := "int8_finetuned" in own and own["int8_finetuned"].notna().all():
        kept = own["int8_finetuned"] >= 0.99 * own["one_shot"]
        text += f" and in {kept.sum()} after the short training in INT8"
    text += f". Change in points of top-1, mean over models: {by_sparsity(_change(own, 'one_shot', 'int8'))}"
    if tuned_too:
        text += f"; with training in INT8 {by_sparsity(_change(own, 'one_shot', 'int8_finetuned'))}"
        if "finetuned" in own and own["finetuned"].notna().all():
            by_int8 = by_sparsity(_change(own, "finetuned", "int8_finetuned"))
            text += f", and against the same training in single precision {by_int8}"
    return [
        Finding(
            claim="C4",
            statement="in its INT8 part: INT8 costs a model that CAP pruned at most 1 % relative top-1",
            outcome=extent(holds),
            joint=", ",
            text=f"{text}.{_sizes(done[done['method'] == CAP])}",
        )
    ]


def _change(cells: pd.DataFrame, before: str, after: str) -> pd.Series:
    """Returns the change of top-1 from one phase to another in points, by sparsity, mean over models."""
    return (cells[after] - cells[before]).groupby("sparsity").mean()


def _sizes(own: pd.DataFrame) -> str:
    """Returns how large the files are, mean over models and seeds; nothing where they were not measured."""
    sizes = own[own["dense_bytes"].notna()].pivot_table(index="sparsity", columns="phase", values="file_bytes")
    if not {"one_shot", "int8"} <= set(sizes):
        return ""
    dense = own["dense_bytes"].mean()
    listed = "; ".join(
        f"{percent(sparsity)} sparse {kibibytes(row.one_shot)} ({dense / row.one_shot:.1f} times smaller), sparse INT8 "
        f"{kibibytes(row.int8)} ({dense / row.int8:.1f})"
        for sparsity, row in zip(sizes.index, sizes.itertuples(), strict=True)
    )
    return f" Files, KiB, mean over models: dense {kibibytes(dense)}; {listed}."
