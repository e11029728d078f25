"""Cells of a sweep's summary as text: a detailed and a compact table."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import kibibytes, number, plus_minus, seconds_in_column, significant, whole
from bench.reports.sweep.summary import representative
from bench.results.labels import GLOBAL, NM, PHASES, pattern_in_words, percent
from bench.results.validity import INVALID

AGREEMENT, EPOCHS, FIT, PRUNE, TOTAL = "agree %", "epochs", "fit s", "prune s", "total s"
PREDICTED, OBSERVED = "loss + predicted", "loss + observed"
SIZE, PUBLISHED = "KiB", "published"
PARAMETERS, MACS, SPEED = "parameters %", "MACs %", "times as fast"


def _top1(row: pd.Series, phase: str) -> str:
    """Formats the top-1 of a phase, or says that it is invalid."""
    return INVALID if row[f"{phase}_invalid"] else plus_minus(row[f"{phase}_mean"], row[f"{phase}_std"])


def _samples(row: pd.Series) -> str:
    """Formats the number of seeds, of both phases where they differ."""
    return ", ".join(dict.fromkeys(whole(row[f"{phase}_n"]) for phase in PHASES if not pd.isna(row[f"{phase}_n"])))


def detailed(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns all cells as text, one row per model, pruner, variant and pattern, ready to print.

    Columns that are empty in every row are left out.
    """
    target = "sparsity" if (summary["kind"] == GLOBAL).all() else "pattern"
    epochs = summary["finetuned_epoch"].nunique() > 1
    lines = []
    for _, row in summary.iterrows():
        line = {
            "model": row["model"],
            "pruner": row["method"],
            "variant": row["variant"],
            target: pattern_in_words(row["pattern"]),
            "dense": number(row["dense"]),
            f"dense {SIZE}": kibibytes(row["dense_bytes"]),
        }
        for phase, name in PHASES.items():
            line |= {
                f"{name} top-1": _top1(row, phase),
                f"{name} drop": number(row[f"{phase}_drop"]),
                f"{name} rel. %": number(row[f"{phase}_rel_drop"]),
                f"{name} {PUBLISHED}": number(row[f"{phase}_paper"]),
                f"{name} {AGREEMENT}": number(row[f"{phase}_agreement"]),
                f"{name} {EPOCHS}": whole(row[f"{phase}_epoch"]) if epochs else "",
                f"{name} {SIZE}": kibibytes(row[f"{phase}_bytes"]),
            }
        line |= {
            PREDICTED: significant(row["predicted_loss_increase"]),
            OBSERVED: significant(row["observed_loss_increase"]),
            PARAMETERS: number(100 * row["params_left"]),
            MACS: number(100 * row["macs_left"]),
            SPEED: number(row["speedup"]),
            "violations": whole(row["violations"]) if (summary["violations"] > 0).any() else "",
            FIT: seconds_in_column(row["fit_seconds"]),
            PRUNE: seconds_in_column(row["prune_seconds"]),
            TOTAL: seconds_in_column(row["fit_seconds"] + row["prune_seconds"]),
            "n": _samples(row),
        }
        lines.append(line)
    table = pd.DataFrame(lines)
    return table.loc[:, (table != "").any()]


def compact_columns(summary: pd.DataFrame) -> pd.Series:
    """Returns for each cell the column of the compact table that it stands in, empty for none."""
    groups = summary["kind"] == NM
    tuned = summary.loc[~groups & summary["finetuned_n"].notna(), "sparsity"]
    shown = set(tuned) or set(representative(summary.loc[~groups, "sparsity"]))
    columns = summary["sparsity"].map(lambda sparsity: percent(sparsity) if sparsity in shown else "")
    return columns.where(~groups, summary["pattern"])


def compact(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per model, pruner and variant with the top-1 of each phase at some patterns.

    These are all N:M patterns, and of the others the sparsities that have a fine-tuned model; without such the ones
    nearest to 50, 75 and 90 %, with the time of the fit and that of reading off all of these.
    """
    cells = summary.assign(column=compact_columns(summary))
    cells = cells[cells["column"] != ""]
    timed = cells["finetuned_n"].isna().all()
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    prunes: dict[tuple[str, ...], float] = {}
    for _, row in cells.iterrows():
        columns = {"model": row["model"], "dense": number(row["dense"]), "pruner": row["name"],
                   "variant": row["variant"]}  # fmt: skip
        key = (row["pruner"], *columns.values())
        line = lines.setdefault(key, columns)
        if timed:
            line[FIT] = seconds_in_column(row["fit_seconds"])
            prunes[key] = prunes.get(key, 0.0) + row["prune_seconds"]
            line[PRUNE] = seconds_in_column(prunes[key])
            line[TOTAL] = seconds_in_column(row["fit_seconds"] + prunes[key])
        for phase, name in PHASES.items():
            if not pd.isna(row[f"{phase}_n"]) or row[f"{phase}_invalid"]:
                line[f"{name} {row['column']}"] = _top1(row, phase)
    by_sparsity = list(cells.sort_values(["sparsity", "pattern"])["column"].unique())
    header = [f"{name} {column}" for name in PHASES.values() for column in by_sparsity]
    header = ["model", "dense", "pruner", "variant", *header, FIT, PRUNE, TOTAL]
    table = pd.DataFrame(lines.values()).reindex(columns=header).fillna("")
    return table.loc[:, (table != "").any()]
