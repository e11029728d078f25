"""Results as tables: statistics over seeds, the paper's values. Reads parquet alone."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa

from bench.core.errors import UserError
from bench.results.labels import GLOBAL, NM, describe, label, method_order, pattern_in_words, percent
from bench.results.schema import SCHEMA

MODEL_ORDER = ("vit", "convnext", "hybrid", "dino")  # by family, as in the paper
PAPER_VALUES = Path("paper_values.csv")
PHASES = {"one_shot": "one-shot", "finetuned": "fine-tuned", "int8": "INT8", "int8_finetuned": "INT8 fine-tuned"}
IDENTITY = ["family", "model", "pruner", "method", "name", "rank", "variant", "settings", "regime"]
KEYS = [*IDENTITY, "sparsity", "pattern", "kind"]  # seeds alone are averaged


def _ordered(values: pd.Series) -> pd.Series:
    """Sort keys: families and pruners in the paper's order, anything else after them by name."""
    if values.name == "family":
        return values.map(lambda v: (MODEL_ORDER.index(v) if v in MODEL_ORDER else len(MODEL_ORDER), v))
    return values.map(method_order) if values.name == "method" else values


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of finished pruned models with what tells their trials apart.

    Args:
        rows: Result rows, as `bench.results.store` describes them; columns that are not there count as empty.

    Returns:
        A copy with the columns of `bench.results.labels.describe`, `dense_bytes`, the size of the trial's dense model
        as a file, and the target under the name `sparsity`.
    """
    whole = rows.reindex(columns=SCHEMA.names)
    for field in SCHEMA:
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            whole[field.name] = pd.to_numeric(whole[field.name])  # a column of nothing is of no type
    dense = whole[whole["phase"] == "dense"].groupby("trial_id")["file_bytes"].first()
    whole["dense_bytes"] = pd.to_numeric(whole["trial_id"].map(dense))
    done = whole[(whole["status"] == "done") & (whole["phase"] != "dense")]
    return describe(done).rename(columns={"sparsity_target": "sparsity"})


def summarise(rows: pd.DataFrame, paper: pd.DataFrame | None = None) -> pd.DataFrame:
    """Averages over seeds.

    Args:
        rows: Result rows, as `bench.results.store` describes them.
        paper: The paper's own values: family, paper_model, pruner, sparsity, phase, top1, source.

    Returns:
        One row per model, pruner, variant and pattern with, for each of PHASES, the columns `<phase>_mean`,
        `<phase>_std` (sample standard deviation, empty for n = 1), `<phase>_n`, `<phase>_drop` (percentage points),
        `<phase>_rel_drop` (percent of dense), `<phase>_agreement` (percent), `<phase>_epoch`, `<phase>_bytes` (mean
        size of the file), `<phase>_paper`; `dense` and `dense_bytes`; the means `fit_seconds`, and of the one-shot
        models `predicted_loss_increase` and `observed_loss_increase`; the sum `violations`; and `pruner_options`.
    """
    done = finished(rows)
    parts = done.groupby([*KEYS, "phase"]).agg(
        mean=("top1", "mean"),
        std=("top1", "std"),
        n=("top1", "count"),
        drop=("top1_drop", "mean"),
        rel_drop=("top1_rel_drop", "mean"),
        agreement=("agreement", "mean"),
        epoch=("epoch", "max"),
        bytes=("file_bytes", "mean"),
    )
    wide = parts.unstack("phase")
    wide.columns = [f"{phase}_{statistic}" for statistic, phase in wide.columns]
    for phase in PHASES:
        for statistic in parts.columns:
            if f"{phase}_{statistic}" not in wide:
                wide[f"{phase}_{statistic}"] = float("nan")
        wide[f"{phase}_paper"] = float("nan")
    cells = done.groupby(KEYS)
    wide["dense"] = cells["top1_dense"].first()
    wide["dense_bytes"] = cells["dense_bytes"].first()
    wide["fit_seconds"] = cells["fit_seconds"].mean()
    wide["violations"] = cells["violations"].sum(min_count=1)
    wide["pruner_options"] = cells["pruner_options"].first()
    one_shot = done[done["phase"] == "one_shot"].groupby(KEYS)
    for column in ("predicted_loss_increase", "observed_loss_increase"):
        wide[column] = one_shot[column].mean()
    order = ["family", "model", "method", "name", "pruner", "rank", "sparsity", "pattern"]
    wide = wide.reset_index().sort_values(order, key=_ordered, ignore_index=True)
    for known in (paper if paper is not None else pd.DataFrame()).itertuples():
        same = (wide["family"] == known.family) & (wide["method"] == label(known.pruner)) & plain(wide)
        wide.loc[same & (wide["sparsity"] == known.sparsity), f"{known.phase}_paper"] = known.top1
    return wide


def plain(frame: pd.DataFrame) -> pd.Series:
    """Returns which rows or cells are of one pruning to a sparsity over all layers, with or without a fine-tune."""
    return (frame["kind"] == GLOBAL) & (frame["regime"] == "one_shot")


def series(frame: pd.DataFrame) -> pd.Series:
    """Returns what a line of a figure is called: the pruner, its scope where there are several, its variant."""
    return (frame["name"] + " " + frame["variant"]).str.strip()


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


def _seconds(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def seconds(value: float) -> str:
    """Formats a time in seconds, short ones in milliseconds."""
    return f"{value:.3g} s" if value >= 0.01 else f"{1000 * value:.2g} ms"


def mebibytes(value: float | None) -> str:
    """Formats a number of bytes in MiB; empty where there is none."""
    return "" if value is None or pd.isna(value) else f"{value / 2**20:,.0f} MiB"


def kibibytes(value: float) -> str:
    """Formats a number of bytes in KiB; empty where there is none."""
    return "" if pd.isna(value) else f"{value / 2**10:,.0f}"


def _significant(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3g}"


def _whole(value: float) -> str:
    return "" if pd.isna(value) else str(int(value))


def _samples(row: pd.Series) -> str:
    """Formats the number of seeds, of both phases where they differ."""
    return ", ".join(dict.fromkeys(_whole(row[f"{phase}_n"]) for phase in PHASES if not pd.isna(row[f"{phase}_n"])))


AGREEMENT, EPOCHS, FIT, PREDICTED, OBSERVED = "agree %", "epochs", "fit s", "loss + predicted", "loss + observed"
SIZE = "KiB"


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
            "dense": _number(row["dense"]),
            f"dense {SIZE}": kibibytes(row["dense_bytes"]),
        }
        for phase, name in PHASES.items():
            line |= {
                f"{name} top-1": plus_minus(row[f"{phase}_mean"], row[f"{phase}_std"]),
                f"{name} drop": _number(row[f"{phase}_drop"]),
                f"{name} rel. %": _number(row[f"{phase}_rel_drop"]),
                f"{name} paper": _number(row[f"{phase}_paper"]),
                f"{name} {AGREEMENT}": _number(row[f"{phase}_agreement"]),
                f"{name} {EPOCHS}": _whole(row[f"{phase}_epoch"]) if epochs else "",
                f"{name} {SIZE}": kibibytes(row[f"{phase}_bytes"]),
            }
        line |= {
            PREDICTED: _significant(row["predicted_loss_increase"]),
            OBSERVED: _significant(row["observed_loss_increase"]),
            "violations": _whole(row["violations"]) if (summary["violations"] > 0).any() else "",
            FIT: _seconds(row["fit_seconds"]),
            "n": _samples(row),
        }
        lines.append(line)
    table = pd.DataFrame(lines)
    return table.loc[:, (table != "").any()]


NEAR = (0.5, 0.75, 0.9)
COMPACT_LINES = 24


def representative(sparsities: pd.Series) -> list[float]:
    """Returns the sparsities nearest to 50, 75 and 90 %."""
    known = sorted(sparsities.unique())
    return sorted({min(known, key=lambda sparsity: abs(sparsity - wanted)) for wanted in NEAR}) if known else []


def _compact_columns(summary: pd.DataFrame) -> pd.Series:
    """Returns for each cell the column of the compact table that it stands in, empty for none."""
    groups = summary["kind"] == NM
    tuned = summary.loc[~groups & summary["finetuned_n"].notna(), "sparsity"]
    shown = set(tuned) or set(representative(summary.loc[~groups, "sparsity"]))
    columns = summary["sparsity"].map(lambda sparsity: percent(sparsity) if sparsity in shown else "")
    return columns.where(~groups, summary["pattern"])


def compact(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per model, pruner and variant with the top-1 of each phase at some patterns.

    These are all N:M patterns, and of the others the sparsities that have a fine-tuned model; without such the ones
    nearest to 50, 75 and 90 %, and how long the fit took. Where the rows would be more than COMPACT_LINES, models are
    columns, too, with the means alone.
    """
    cells = summary.assign(column=_compact_columns(summary))
    cells = cells[cells["column"] != ""]
    models = list(cells["model"].unique())
    wide = len(models) > 1 and len(cells[["model", "pruner", "name", "variant"]].drop_duplicates()) > COMPACT_LINES
    timed = cells["finetuned_n"].isna().all()
    dense: dict[str, str] = {"pruner": "dense"}
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for _, row in cells.iterrows():
        about = {"pruner": row["name"], "variant": row["variant"]}
        if not wide:
            about = {"model": row["model"], "dense": _number(row["dense"]), **about}
        line = lines.setdefault((row["pruner"], *about.values()), about)
        if timed and not wide:
            line[FIT] = _seconds(row["fit_seconds"])
        for phase, name in PHASES.items():
            if pd.isna(row[f"{phase}_n"]):
                continue
            column = f"{name} {row['column']}"
            if wide:
                line[f"{row['model']} {column}"] = _number(row[f"{phase}_mean"])
                dense[f"{row['model']} {column}"] = _number(row["dense"])
            else:
                line[column] = plus_minus(row[f"{phase}_mean"], row[f"{phase}_std"])
    by_sparsity = list(cells.sort_values(["sparsity", "pattern"])["column"].unique())
    header = [f"{name} {column}" for name in PHASES.values() for column in by_sparsity]
    if wide:
        header = ["pruner", "variant", *(f"{model} {column}" for model in models for column in header)]
    else:
        header = ["model", "dense", "pruner", "variant", *header, FIT]
    table = pd.DataFrame([*([dense] if wide else []), *lines.values()]).reindex(columns=header).fillna("")
    return table.loc[:, (table != "").any()]


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
