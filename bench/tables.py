"""Results as tables: statistics over seeds, the paper's values, the verdicts on its claims. Reads parquet alone."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from bench.errors import UserError

LABELS = {"magnitude": "GM", "woodfisher": "WF", "cap": "CAP"}
MODEL_ORDER = ("vit", "convnext", "hybrid", "dino")  # by family, as in the paper
PAPER_VALUES = Path("paper_values.csv")
KEYS = ["family", "model", "pruner", "pruner_options", "sparsity", "pattern"]  # seeds alone are averaged


def label(pruner: str) -> str:
    """Returns a pruner's short name in tables."""
    return LABELS.get(pruner, pruner)


def _ordered(values: pd.Series) -> pd.Series:
    """Sort keys: families and pruners in the paper's order, anything else after them by name."""
    if values.name == "family":
        return values.map(lambda v: (MODEL_ORDER.index(v) if v in MODEL_ORDER else len(MODEL_ORDER), v))
    if values.name == "pruner":
        known = list(LABELS)
        return values.map(lambda v: (known.index(v) if v in known else len(known), v))
    return values


def summarise(rows: pd.DataFrame, paper: pd.DataFrame | None = None) -> pd.DataFrame:
    """Averages over seeds.

    Args:
        rows: Result rows, as `bench.store` describes them.
        paper: The paper's own values: family, paper_model, pruner, sparsity, phase, top1, source.

    Returns:
        One row per model, pruner and sparsity with, for the phases one_shot and finetuned, the columns `<phase>_mean`,
        `<phase>_std` (sample standard deviation, empty for n = 1), `<phase>_n`, `<phase>_drop` (percentage points),
        `<phase>_rel_drop` (percent of dense), `<phase>_paper`; and `dense`.
    """
    done = rows[(rows["status"] == "done") & (rows["phase"] != "dense")].rename(columns={"sparsity_target": "sparsity"})
    groups = done.groupby([*KEYS, "phase"])
    parts = groups.agg(
        mean=("top1", "mean"),
        std=("top1", "std"),
        n=("top1", "count"),
        drop=("top1_drop", "mean"),
        rel_drop=("top1_rel_drop", "mean"),
    )
    wide = parts.unstack("phase")
    wide.columns = [f"{phase}_{statistic}" for statistic, phase in wide.columns]
    for phase in ("one_shot", "finetuned"):
        for statistic in parts.columns:
            if f"{phase}_{statistic}" not in wide:
                wide[f"{phase}_{statistic}"] = float("nan")
        wide[f"{phase}_paper"] = float("nan")
    wide["dense"] = done.groupby(KEYS)["top1_dense"].first()
    wide = wide.reset_index().sort_values(KEYS, key=_ordered, ignore_index=True)
    for known in (paper if paper is not None else pd.DataFrame()).itertuples():
        same = (wide["family"] == known.family) & (wide["pruner"] == known.pruner)
        wide.loc[same & (wide["sparsity"] == known.sparsity), f"{known.phase}_paper"] = known.top1
    return wide


def read_paper_values(results: Path) -> pd.DataFrame:
    """Reads the paper's own values, each with its source; what is unknown is not in the file, nor need there be one."""
    path = results / PAPER_VALUES
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def plus_minus(mean: float, std: float) -> str:
    """Formats a mean and its standard deviation, which is left out for a single value, like the mean for none."""
    if pd.isna(mean):
        return ""
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} ± {std:.2f}"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def seconds(value: float) -> str:
    """Formats a time in seconds, short ones in milliseconds."""
    return f"{value:.3g} s" if value >= 0.01 else f"{1000 * value:.2g} ms"


def mebibytes(value: float | None) -> str:
    """Formats a number of bytes in MiB; empty where there is none."""
    return "" if value is None or pd.isna(value) else f"{value / 2**20:,.0f} MiB"


def _phase_cells(row: pd.Series, phase: str) -> list[str]:
    return [
        plus_minus(row[f"{phase}_mean"], row[f"{phase}_std"]),
        _number(row[f"{phase}_drop"]),
        _number(row[f"{phase}_rel_drop"]),
        _number(row[f"{phase}_paper"]),
    ]


HEADER = ["model", "pruner", "sparsity", "dense"]
PHASE_HEADER = ["top-1", "drop", "rel. %", "paper"]


def detailed(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns all cells as text, one row per model, pruner and sparsity, ready to print."""
    columns = [*HEADER, *(f"one-shot {c}" for c in PHASE_HEADER), *(f"fine-tuned {c}" for c in PHASE_HEADER), "n"]
    cells = [
        [
            row["model"],
            label(row["pruner"]),
            f"{100 * row['sparsity']:g} %",
            _number(row["dense"]),
            *_phase_cells(row, "one_shot"),
            *_phase_cells(row, "finetuned"),
            str(int(row["one_shot_n"])),
        ]
        for _, row in summary.iterrows()
    ]
    return pd.DataFrame(cells, columns=columns)


def compact(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per model and pruner: one-shot and fine-tuned top-1 at the sparsities that have both."""
    both = summary[summary["finetuned_n"].notna()]
    cells = []
    for (_, model, pruner), part in both.groupby(["family", "model", "pruner"], sort=False):
        line = {"model": model, "dense": _number(part["dense"].iloc[0]), "pruner": label(pruner)}
        for phase, name in (("one_shot", "one-shot"), ("finetuned", "fine-tuned")):
            for _, row in part.iterrows():
                cell = plus_minus(row[f"{phase}_mean"], row[f"{phase}_std"])
                line[f"{name} {100 * row['sparsity']:g} %"] = cell
        cells.append(line)
    return pd.DataFrame(cells).fillna("")


def to_markdown(table: pd.DataFrame) -> str:
    """Returns a table of text cells in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def insert_text(document: Path, name: str, text: str) -> None:
    """Puts a text between `<!-- name -->` and `<!-- /name -->` in a Markdown document.

    Raises:
        UserError: If there is no such document, or it lacks the two marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if not document.is_file():
        raise UserError(f"{document} does not exist")
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{document} has no place for the table: it needs the lines {begin.strip()} and {end}")
    temporary = document.with_name(f".{document.name}.{os.getpid()}")
    temporary.write_text(f"{before}{begin}{text}{end}{after}")
    os.replace(temporary, document)


def verdict_c1(summary: pd.DataFrame) -> str:
    """Claim C1: CAP keeps top-1 within 1 % relative of dense at 75 % sparsity, after fine-tuning."""
    cells = summary[(summary["pruner"] == "cap") & (summary["sparsity"] == 0.75) & summary["finetuned_n"].notna()]
    if cells.empty:
        return "C1 (at most 1 % relative drop at 75 %): not tested, there is no fine-tuned CAP model at 75 %."
    holds, without = cells["finetuned_rel_drop"] <= 1, cells["one_shot_rel_drop"] <= 1
    numbers = ", ".join(
        f"{row.model} {row.finetuned_rel_drop:.2f} % (before it {row.one_shot_rel_drop:.2f} %)"
        for row in cells.itertuples()
    )
    return (
        f"C1 (CAP at 75 % loses at most 1 % relative top-1): {_extent(holds)}, on {holds.sum()} of {len(holds)} models "
        f"after the short fine-tune and on {without.sum()} before it. Relative drop: {numbers}."
    )


def verdict_c2(rows: pd.DataFrame) -> str:
    """Claim C2: CAP beats the other pruners one-shot, by more at high sparsity.

    In each cell (model and sparsity) CAP is set against the best of the others by mean top-1, and seed by seed.
    """
    done = rows[(rows["status"] == "done") & (rows["phase"] == "one_shot")]
    cells = ["model", "sparsity_target"]
    tops = done.pivot_table(index=[*cells, "seed"], columns="pruner", values="top1", aggfunc="mean").dropna()
    if "cap" not in tops or tops.shape[1] < 2 or tops.empty:
        return "C2 (CAP beats the pruners before it): not tested, CAP and at least one other pruner are needed."
    rivals = [pruner for pruner in tops.columns if pruner != "cap"]
    means = tops.groupby(level=cells).mean()
    best = means[rivals].idxmax(axis=1)
    lead = means["cap"] - means[rivals].max(axis=1)
    every_seed = pd.Series(
        {cell: (tops.loc[cell, "cap"] > tops.loc[cell, pruner]).all() for cell, pruner in best.items()}, dtype=bool
    )
    by_sparsity = lead.groupby("sparsity_target").mean()
    numbers = ", ".join(f"{100 * s:g} %: {value:+.2f}" for s, value in by_sparsity.items())
    grows = (
        f" It is larger at {100 * by_sparsity.idxmax():g} % than at the lowest sparsity."
        if by_sparsity.idxmax() != by_sparsity.index[0]
        else " It is largest at the lowest sparsity."
    )
    return (
        f"C2 (CAP beats {' and '.join(label(p) for p in rivals)} one-shot): {_extent(lead > 0)}, CAP's mean is the "
        f"highest in {(lead > 0).sum()} of {len(lead)} cells, and in {every_seed.sum()} it beats the best other pruner "
        f"with every seed. Lead over the best other pruner in points of top-1, mean over models: {numbers}; smallest "
        f"{lead.min():+.2f}, largest {lead.max():+.2f}.{grows}"
    )


def _extent(holds: pd.Series) -> str:
    return "holds" if holds.all() else "holds in part" if holds.any() else "does not hold"
