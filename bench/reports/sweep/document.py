"""A sweep in the midst of a document: tables that fit its width, the best of each column marked, claims in short."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.origin import origin
from bench.reports.common.text import number, to_markdown
from bench.reports.sweep import tables
from bench.reports.sweep.attribution import attribution_table
from bench.reports.sweep.claims import findings, left_out
from bench.reports.sweep.claims.wording import in_table_order
from bench.reports.sweep.control import control_lines
from bench.reports.sweep.protocol import HEADLINE, ProtocolTables
from bench.reports.sweep.summary import SweepResults, series, summarise
from bench.results.labels import PHASES, UNPRUNED
from bench.results.predictions import Predictions
from bench.results.validity import INVALID


def document_text(rows: pd.DataFrame, predictions: Predictions | None = None) -> str:
    """Returns compact tables, leads and claims in Markdown; what is longer than a document wants is in the report."""
    summary = summarise(rows)
    parts = attribution_table(summary)
    found = SweepResults.of(rows, predictions)
    tops = phase_tables(summary) if found.seeded else {"": tables.compact(summary)}
    shown = tops if parts.empty else {"": parts}
    shown |= {title: table for title, table in ProtocolTables.of(found).tables.items() if title != HEADLINE}
    told = [one.finding.short for one in findings(found)] + left_out(rows)
    lines = "".join(f"* {sentence}\n" for sentence in (*told, *control_lines(summary)))
    blocks = [f"{title}:\n\n{to_markdown(table)}" if title else to_markdown(table) for title, table in shown.items()]
    return "\n".join([*blocks, f"{origin(rows)}\n", lines])


def phase_tables(summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns a table for each phase by its title: a row a pruner and setting, columns of each model's patterns.

    The cells are means of top-1 over dense models and seeds, the best of a column bold, that of unpruned models apart:
    the dense ones are the first row, and the second where they were trained as the pruned ones were.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
    """
    cells = summary.assign(series=series(summary), column=tables.compact_columns(summary))
    control, pruned = cells[cells["method"] == UNPRUNED], cells[(cells["method"] != UNPRUNED) & (cells["column"] != "")]
    found = {}
    for phase, name in PHASES.items():
        part = pruned[pruned[f"{phase}_n"].notna() | pruned[f"{phase}_invalid"]]
        if part.empty:
            continue
        patterns = part.sort_values(["sparsity", "pattern"], kind="stable")["column"].unique()
        places = [(model, pattern) for model in part["model"].unique() for pattern in patterns]
        lines = {"dense": part.drop_duplicates("model").set_index("model")["dense"].map(number).to_dict()}
        trained = control[control[f"{phase}_n"].notna()]
        if phase != "one_shot" and not trained.empty:
            lines[f"dense, {name}"] = trained.set_index("model")[f"{phase}_mean"].map(number).to_dict()
        texts = part.assign(text=_texts(part, phase)).set_index(["model", "column"])
        by_series = dict(list(texts.groupby("series")["text"]))
        lines |= {label: by_series[label].to_dict() for label in in_table_order(part, by_series)}
        columns = ["pruner", *(f"{model} {pattern}" for model, pattern in places)]
        values = [[label, *(line.get(at, line.get(at[0], "")) for at in places)] for label, line in lines.items()]
        found[f"Top-1 {name}, mean of the dense models"] = pd.DataFrame(values, columns=columns)
    return found


def _texts(cells: pd.DataFrame, phase: str) -> pd.Series:
    """Returns the top-1 of cells as text, the best on each model at each pattern bold."""
    texts = cells[f"{phase}_mean"].map(number)
    shown = pd.to_numeric(texts)
    best = shown == shown.groupby([cells["model"], cells["column"]]).transform("max")
    return texts.where(~best, "**" + texts + "**").where(~cells[f"{phase}_invalid"], INVALID)
