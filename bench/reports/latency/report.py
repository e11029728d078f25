"""Report on measured times of inference: terminal, Markdown, CSV, figure, README. Reads parquet alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
from rich.console import Console

from bench.reports.common.console import text_table
from bench.reports.common.origin import code_state
from bench.reports.common.text import insert_text, to_markdown
from bench.reports.latency.analysis import CELL, accuracy, analyse, cell_summary, compact, detailed
from bench.reports.latency.claim import speedup_claim
from bench.reports.latency.figure import draw
from bench.results import folders
from bench.results.timings import Cell, Timings

DISTURBED = 0.2  # cores taken by others from which on times are not to be relied on
SETTING = (
    "Weights are random, with masks of the magnitude pruner over all prunable layers together: the time depends on the "
    "masks and not on the values. All engines run in one process, each once a round in rotating order, and their "
    "outputs were compared with eager's before any time was taken. At 0 % the sparse engine is forced to run unpruned "
    "weights through its own kernels: the control, since fusion is not sparsity."
)
EXPLAINED = (
    "p50 and p95: time of one pass. To eager, to best dense: ratio of the medians, how many times as fast as eager and "
    "as the dense engine that is the fastest in the same cell; quartiles: of the ratios within each round. Build: from "
    "the PyTorch model to the engine, compilation and all; load: from what that left on disk. Memory: what the "
    "engine and a pass take in a process of their own. Sparse layers: those that the sparse engine runs with its own "
    "kernels, of those that it could."
)
EXPLAINED_RATE = (
    "GMAC/s: multiply-adds that the zeros leave, a second, in thousands of millions; of peak: to those of a dense "
    "product of 1,024 x 1,024 matrices with the same threads, measured beside."
)


def origin(rows: pd.DataFrame) -> str:
    """Returns one line that says where the measurements come from."""
    versions = {name: v for text in rows["versions"] for name, v in json.loads(text).items()}
    shown = [f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "openvino", "numba") if name in versions]
    cores = ", ".join(sorted({f"{row.processor}, {row.cores} cores" for row in rows.itertuples()}))
    others = f"other processes took {rows['others'].max():.2f} cores or less meanwhile"
    return f"{cores}; {', '.join(shown)}; {code_state(rows)}; {others}."


def show(table: pd.DataFrame, title: str, console: Console) -> None:
    """Prints a table of text cells."""
    console.print(text_table(table, title, left=("model", "engine", "best dense"), wrapped=table.columns))


def print_cells(compared: pd.DataFrame, console: Console) -> None:
    """Prints a table for every cell.

    Args:
        compared: Compared rows, as `bench.reports.latency.analysis.analyse` returns them.
        console: Terminal to print to.
    """
    for (model, threads, batch), cell in compared.groupby(CELL, sort=False):
        table = detailed(cell)
        wanted = [column for column in table if column not in (*CELL, "rounds") and "quartiles" not in column]
        show(table[wanted], f"{model}, batch {batch}, threads {threads}", console)


def progress_lines(cell: Cell, rows: pd.DataFrame) -> list[str]:
    """Returns what is said as soon as a cell is measured: its speed-ups, and whether other work disturbed them.

    Args:
        cell: The cell.
        rows: Rows of the cell, as `bench.results.timings.TimingRow` describes them.
    """
    compared = analyse(rows)
    lines = [f"{cell.label}: {cell_summary(compared)}"]
    if (others := compared["others"].max()) > DISTURBED:
        lines.append(f"  not reliable: other processes took {others:.1f} cores")
    return lines


class LatencyReport:
    """Report on measured times: terminal, Markdown, CSV, figure.

    Args:
        timings: Measurements on disk.
        results: Folder of all results, with the accuracy, to write to; for published ones the working folder is
            written to.

    Raises:
        UserError: If there are no measurements.
    """

    def __init__(self, timings: Timings, results: Path) -> None:
        self.timings = timings
        self.rows = timings.read()
        self.compared, self.drops = analyse(self.rows), accuracy(results)
        found = speedup_claim(self.compared, self.drops)
        self.verdict = found.sentence if found is not None else None
        self.written = Timings(folders.reports(results), timings.name)

    @property
    def source(self) -> str:
        """Line that says which measurements are shown, and how many cells are in them."""
        name = self.timings.name
        return folders.describe_source(self.timings.results, f"{name}/{name}.parquet", "cell", "cell")

    def print(self, console: Console) -> None:
        """Prints the ratios and the verdict."""
        console.print(origin(self.rows), highlight=False)
        show(compact(self.compared), "Times as fast as the best dense engine (as eager)", console)
        if self.verdict:
            console.print(self.verdict, highlight=False)

    def markdown(self) -> str:
        """Returns the report in Markdown."""
        lines = ["# Measured speed of inference", "", origin(self.rows), "", SETTING, ""]
        lines += [f"* {self.verdict}", ""] if self.verdict else []
        table = detailed(self.compared)
        explained = f"{EXPLAINED} {EXPLAINED_RATE}" if "GMAC/s" in table else EXPLAINED
        lines += [explained, "", to_markdown(table)]
        return "\n".join(lines)

    def compact(self, folder: Path) -> str:
        """Returns the table of ratios, where it comes from, the verdict and the figure, in Markdown.

        Args:
            folder: Folder of the document, for the links.
        """
        stem = Path(os.path.relpath(self.timings.collected.with_suffix(""), folder))
        lines = [to_markdown(compact(self.compared)), origin(self.rows), ""]
        lines += [f"* {self.verdict}", ""] if self.verdict else []
        lines += [
            f"![Speed-up against sparsity, and the accuracy kept]({stem.with_suffix('.png').as_posix()})",
            "",
            f"All engines, with quartiles and memory: [{stem.name}.md]({stem.with_suffix('.md').as_posix()}).",
            "",
        ]
        return "\n".join(lines)

    def write(self, into: Path | None = None) -> list[Path]:
        """Writes the report as Markdown, the numbers as CSV and the figure into the folder of results.

        Args:
            into: Markdown document whose place marked `<!-- speedup -->` receives the compact table.

        Returns:
            The files written.

        Raises:
            UserError: If the document has no such place.
        """
        if into is not None:
            insert_text(into, "speedup", self.compact(into.parent))
        stem = self.written.collected.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        text, values = stem.with_suffix(".md"), stem.with_suffix(".csv")
        text.write_text(self.markdown())
        numbers = self.compared.drop(columns=["seconds", "cell", "versions", "started_at"])
        numbers.to_csv(values, index=False, float_format="%.6g")
        return [text, values, *draw(self.compared, self.drops, stem), *([into] if into else [])]
