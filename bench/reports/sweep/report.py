"""A sweep's collected results as a reader sees them: terminal, Markdown, CSV, figures, README."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.core.errors import UserError
from bench.reports.common.console import text_table
from bench.reports.common.origin import origin
from bench.reports.common.text import insert_text, to_markdown
from bench.reports.sweep import tables
from bench.reports.sweep.attribution import attribution_table
from bench.reports.sweep.claims import claim_sentences
from bench.reports.sweep.control import control_lines
from bench.reports.sweep.document import document_text
from bench.reports.sweep.protocol import ProtocolTables
from bench.reports.sweep.smaller import SWEEP, SmallerModel, smaller_lines, smaller_models
from bench.reports.sweep.summary import SweepResults, published_for, read_paper_values, summarise
from bench.results import folders
from bench.results.labels import PHASES
from bench.results.predictions import Predictions
from bench.results.store import Store
from bench.results.validity import INVALID, invalid_lines

ALWAYS_EXPLAINED = (
    "Top-1 in percent, mean ± sample standard deviation over n seeds; drop from dense in points and in percent of dense"
)
EXPLAINED = {  # part of a column's name: what it says
    tables.PUBLISHED: f"{tables.PUBLISHED}: by a paper, for the same network or its network of the family",
    tables.AGREEMENT: f"{tables.AGREEMENT}: test images that get the dense model's class",
    tables.EPOCHS: f"{tables.EPOCHS}: trained until then",
    tables.SIZE: f"{tables.SIZE}: size of the file, sparse but for the dense model's",
    tables.PREDICTED: "loss +: increase of the calibration loss, as the pruner predicts it and as observed",
    tables.PARAMETERS: f"{tables.PARAMETERS}, {tables.MACS}: of the smaller model without the removed units, of dense",
    tables.SPEED: f"{tables.SPEED}: as the dense model, PyTorch eager, timed in turn, median of all its models",
    "violations": "violations: of the pattern, over all seeds",
    tables.FIT: f"{tables.FIT}: seconds that fitting took, where the model trains all of it so far, mean over seeds",
    tables.PRUNE: f"{tables.PRUNE}: seconds from the fit to the weights at this pattern",
    tables.TOTAL: f"{tables.TOTAL}: both",
    INVALID: f"{INVALID}: weights or masks are not at the pattern; used for no number and no claim",
}
DISPENSABLE = (  # parts of columns' names: those that go first where room is short
    tables.AGREEMENT,
    tables.PUBLISHED,
    "loss +",
    tables.EPOCHS,
    "rel. %",
    tables.FIT,
    tables.PRUNE,
    tables.TOTAL,
    tables.SIZE,
    "drop",
)
TEXT_COLUMNS = ("pruner", "variant", "sparsity", "pattern")


def markdown(rows: pd.DataFrame, results: Path, title: str, predictions: Predictions | None = None) -> str:
    """Returns the whole report of a sweep in Markdown."""
    paper = read_paper_values(results)
    summary = summarise(rows, paper)
    cells, parts = tables.detailed(summary), attribution_table(summary)
    found = SweepResults.of(rows, predictions)
    protocol = ProtocolTables.of(found)
    controls = [*control_lines(summary), *smaller_lines(summary, _smaller(rows, results))]
    said = [f"* {sentence}" for sentence in (*_verdicts(found, protocol), *controls)]
    lines = [f"# {title}", "", origin(rows), "", *said, ""]
    if not parts.empty:
        lines += ["One-shot top-1 by mask and update:", "", to_markdown(parts)]
    for heading, table in protocol.tables.items():
        lines += [f"{heading}:", "", to_markdown(table)]
    explained = _explanation(cells) + _sources(summary, paper)
    return "\n".join([*lines, *textwrap.wrap(explained, 120), "", to_markdown(cells)])


def _smaller(rows: pd.DataFrame, results: Path) -> list[SmallerModel]:
    """Returns the smaller dense models among the results of the rows' profile, published ones where there are none."""
    if "dense_seed" not in rows or not rows["dense_seed"].notna().any():
        return []  # of before there were several dense models
    folder = folders.profile_folder(rows["profile"].iloc[0])
    return smaller_models(folders.source(f"{folder}/{SWEEP}.parquet", results) / folder)


def _sources(summary: pd.DataFrame, paper: pd.DataFrame) -> str:
    """Returns a sentence with the sources of the published values in a summary, nothing where it has none."""
    if not summary[[f"{phase}_paper" for phase in PHASES]].notna().any(axis=None):
        return ""
    models = summary[["model", "family"]].drop_duplicates().itertuples(index=False)
    found = (text for model, family in models for text in published_for(model, family, paper)["source"])
    return f" Published: {'; '.join(dict.fromkeys(found))}."


def _explanation(cells: pd.DataFrame) -> str:
    """Returns what the columns of the detailed table mean."""
    shown = [
        text
        for word, text in EXPLAINED.items()
        if any(word in column for column in cells.columns) or (cells == word).any(axis=None)
    ]
    return "; ".join([ALWAYS_EXPLAINED, *shown]) + "."


def print_report(
    rows: pd.DataFrame, results: Path, title: str, console: Console, predictions: Predictions | None = None
) -> None:
    """Prints a table for every model, with as many columns as the terminal has room for, and the claims."""
    summary = summarise(rows, read_paper_values(results))
    cells, parts = tables.detailed(summary), attribution_table(summary)
    console.print(title, origin(rows), "Top-1 in percent.", highlight=False)
    for (model, dense), part in cells.groupby(["model", "dense"], sort=False):
        console.print(_fitting_table(part.drop(columns=["model", "dense"]), f"{model}: dense {dense}", console))
    if not parts.empty:
        console.print(text_table(parts, "one-shot by mask and update", ("model", "allocation", "mask")))
    found = SweepResults.of(rows, predictions)
    protocol = ProtocolTables.of(found)
    for heading, table in protocol.tables.items():
        console.print(text_table(table, heading, ("pruner", "phase", "model"), wrapped=table.columns))
    controls = [*control_lines(summary), *smaller_lines(summary, _smaller(rows, results))]
    for sentence in (*_verdicts(found, protocol), *controls):
        console.print(sentence, highlight=False)


def _verdicts(found: SweepResults, protocol: ProtocolTables) -> list[str]:
    """Returns what the results say of the claims, and the ranks; nothing where they are those of a pilot."""
    return [] if pilot_text(found.rows) else [*claim_sentences(found), *protocol.ranks]


def pilot_text(rows: pd.DataFrame) -> str:
    """Returns what a title says of a pilot's rows; nothing of others."""
    images = rows["pilot_images"].dropna() if "pilot_images" in rows else []
    return f", pilot of {int(max(images)):,} images: no results of the benchmark" if len(images) else ""


def _fitting_table(cells: pd.DataFrame, title: str, console: Console) -> Table:
    """Returns a table without empty columns and, where the terminal is narrow, without dispensable ones."""
    unbounded = console.options.update(max_width=10**4)
    shown = cells.loc[:, (cells != "").any()]
    for word in (None, *DISPENSABLE):
        if word is not None:
            shown = shown[[column for column in shown if word not in column]]
        table = text_table(shown, title, TEXT_COLUMNS, wrapped=("variant",), sections=True, heading=_short)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    return table


def _short(column: str) -> str:
    """Returns `one-shot` for `one-shot top-1`, `drop` for `one-shot drop`: a phase's first column names it."""
    phase = max((name for name in PHASES.values() if column.startswith(f"{name} ")), key=len, default="")
    rest = column.removeprefix(f"{phase} ")
    return phase if rest == "top-1" else rest


def write_tables(
    rows: pd.DataFrame, store: Store, results: Path, title: str, predictions: Predictions | None = None
) -> list[Path]:
    """Writes the Markdown report and the summary as CSV beside the collected parquet file."""
    text, values = store.collected.with_suffix(".md"), store.collected.with_suffix(".csv")
    text.write_text(markdown(rows, results, title, predictions))
    summary = summarise(rows, read_paper_values(results))
    seldom = [column for column in summary if column.startswith("int8") or column.endswith(("_bytes", "_invalid"))]
    unused = [column for column in seldom if not summary[column].fillna(False).any()]
    summary.drop(columns=["rank", *unused]).to_csv(values, index=False, float_format="%.6g")
    return [text, values]


def write_figures(rows: pd.DataFrame, store: Store, title: str) -> list[Path]:
    """Draws the figures beside the collected parquet file."""
    from bench.reports.sweep.figures import figures

    return figures(rows, title, store.collected.with_suffix(""))


class SweepReport:
    """Report on a sweep: terminal, Markdown, CSV, figures, README.

    Args:
        store: Results of the sweep in a profile.
        results: Folder of all results, to write to; for published ones the working folder is written to.

    Raises:
        UserError: If the sweep has no collected results.
    """

    def __init__(self, store: Store, results: Path) -> None:
        self.store, self.results = store, results
        self.rows, self.predictions = store.read(), store.predictions()
        self.title = f"{store.sweep} ({store.profile}){pilot_text(self.rows)}"
        self.written = Store(folders.reports(results), store.profile, store.sweep)

    @property
    def source(self) -> str:
        """Line that says which rows are shown, and how many trials are in them."""
        file = f"{folders.profile_folder(self.store.profile)}/{self.store.sweep}.parquet"
        return folders.describe_source(self.store.results, file, "trial_id", "trial")

    @property
    def invalid(self) -> list[str]:
        """A line for every pruner with invalid rows."""
        return invalid_lines(self.rows)

    def print(self, console: Console) -> None:
        """Prints a table for every model, and the verdicts."""
        print_report(self.rows, self.results, self.title, console, self.predictions)

    def write(self, into: Path | None = None) -> list[Path]:
        """Writes the report as Markdown and the summary as CSV into the folder of results.

        Args:
            into: Markdown document whose place marked with the sweep's name receives the compact table.

        Returns:
            The files written.

        Raises:
            UserError: If the document has no such place.
        """
        if into is not None:
            if pilot := pilot_text(self.rows):
                raise UserError(f"{self.store.sweep} goes into no document:{pilot.removeprefix(',')}")
            insert_text(into, self.store.sweep, document_text(self.rows, self.predictions))
        self.written.collected.parent.mkdir(parents=True, exist_ok=True)
        written = write_tables(self.rows, self.written, self.results, self.title, self.predictions)
        return [*written, *([into] if into is not None else [])]

    def draw(self) -> list[Path]:
        """Draws the figures into the folder of results, and returns the files written."""
        self.written.collected.parent.mkdir(parents=True, exist_ok=True)
        return write_figures(self.rows, self.written, self.title)
