"""Turns a sweep's collected results into everything a reader sees: terminal, Markdown, CSV, figures, README."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.store import Store


def verdicts(rows: pd.DataFrame) -> list[str]:
    """Returns the verdicts on the claims that these rows can decide."""
    return [tables.verdict_c1(tables.summarise(rows)), tables.verdict_c2(rows)]


def origin(rows: pd.DataFrame) -> str:
    """Returns one line that says where the rows come from."""
    commits = sorted({str(c)[:12] for c in rows["commit"].dropna()}) or ["unknown"]
    modified = ", with uncommitted changes" if rows["dirty"].fillna(False).any() else ""
    devices = ", ".join(sorted(rows["device"].dropna().unique()))
    trials, seeds = rows["trial_id"].nunique(), rows["seed"].nunique()
    images = int(rows["n_images"].max())
    return (
        f"{trials} trials, {seeds} seed{'s' if seeds > 1 else ''}, {images:,} test images; "
        f"commit {', '.join(commits)}{modified}; {devices}."
    )


def markdown(rows: pd.DataFrame, results: Path, title: str) -> str:
    """Returns the whole report of a sweep in Markdown."""
    summary = tables.summarise(rows, tables.read_paper_values(results))
    lines = [f"# {title}", "", origin(rows), "", *(f"* {verdict}" for verdict in verdicts(rows)), ""]
    lines += [
        "Top-1 in percent, mean ± sample standard deviation over n seeds; drop from dense in points and in percent of",
        "dense; the paper's own value for its model of the family where it is known, else empty.",
        "",
        tables.to_markdown(tables.detailed(summary)),
    ]
    return "\n".join(lines)


def print_report(rows: pd.DataFrame, results: Path, title: str, console: Console) -> None:
    """Prints a table for every model, narrow enough for any terminal, and the verdicts."""
    cells = tables.detailed(tables.summarise(rows, tables.read_paper_values(results)))
    console.print(title, origin(rows), "Top-1 in percent.", highlight=False)
    for (model, dense), part in cells.groupby(["model", "dense"], sort=False):
        shown = part.drop(columns=["model", "dense"])
        shown = shown.drop(columns=[column for column in shown if "paper" in column and not shown[column].any()])
        table = Table(title=f"{model}: dense {dense}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in shown.columns:
            # "one-shot top-1", "one-shot drop" to "one-shot", "drop": the group's first column names it
            short = column.removesuffix(" top-1").replace("one-shot ", "").replace("fine-tuned ", "")
            table.add_column(short, justify="left" if column == "pruner" else "right", no_wrap=True)
        previous = part["pruner"].iloc[0]
        for line in shown.itertuples(index=False):
            if line.pruner != previous:
                table.add_section()
            previous = line.pruner
            table.add_row(*line)
        console.print(table)
    for verdict in verdicts(rows):
        console.print(verdict, highlight=False)


def write_tables(rows: pd.DataFrame, store: Store, results: Path, title: str) -> list[Path]:
    """Writes the Markdown report and the summary as CSV beside the collected parquet file."""
    text, values = store.collected.with_suffix(".md"), store.collected.with_suffix(".csv")
    text.write_text(markdown(rows, results, title))
    tables.summarise(rows, tables.read_paper_values(results)).to_csv(values, index=False, float_format="%.6g")
    return [text, values]


def write_figures(rows: pd.DataFrame, store: Store, title: str) -> list[Path]:
    """Draws the figures beside the collected parquet file."""
    from bench.plots import accuracy_curves

    return accuracy_curves(tables.summarise(rows), title, store.collected.with_suffix(""))


def insert(document: Path, name: str, rows: pd.DataFrame) -> None:
    """Puts the compact table and the verdicts between `<!-- name -->` and `<!-- /name -->` in a Markdown document.

    Raises:
        UserError: If there is no such document, or it lacks the two marks.
    """
    table = tables.to_markdown(tables.compact(tables.summarise(rows)))
    lines = "".join(f"* {verdict}\n" for verdict in verdicts(rows))
    tables.insert_text(document, name, f"{table}\n{origin(rows)}\n\n{lines}")
