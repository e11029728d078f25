"""What a run found, in a table that fits a terminal of 80 columns."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from bench.reports.common.console import text_table
from bench.reports.common.text import number
from bench.reports.sweep.summary import series, summarise, valid_cells
from bench.reports.sweep.tables import compact_columns
from bench.results.labels import LAYER, PHASES, model_labels, pattern_in_words, percent
from bench.results.tuned import SETTINGS

WIDTH = 80
PADDING = 2  # characters between two columns
SHORTEST = 8  # characters of a cut name
NAMES = ("best", "next")


def outcome_table(rows: pd.DataFrame, title: str) -> Table:
    """Returns the best two methods of every model, phase and sparsity by their mean top-1, without a test behind it.

    Of many sparsities those near 50, 75 and 90 % are shown, or those that have a fine-tuned model. Methods that choose
    layer by layer stand beside the others of the same sparsity, the settings of one method are one.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        title: Name of the sweep.
    """
    cells = valid_cells(summarise(rows))
    cells = cells[cells["sparsity"] != 0]
    cells = cells[compact_columns(cells) != ""]
    dense = cells.groupby("model")["dense"].mean()
    cells, labels = cells.assign(name=series(cells)), model_labels(cells["model"].unique())
    lines = []
    for (model, phase, pattern), found in _ranked(cells).items():
        line = {"model": labels[model], "phase": phase, "at": pattern, "dense": number(dense[model])}
        for place, (name, top1) in zip(NAMES, found, strict=False):
            line |= {place: name, f"{place} %": number(top1)}
        lines.append(line)
    columns = ["model", "phase", "at", "dense", *(heading for name in NAMES for heading in (name, f"{name} %"))]
    table = _fitted(pd.DataFrame(lines, columns=columns).fillna(""))
    heading = f"{title}: highest mean top-1"
    return text_table(table, heading, ("model", "phase", "at", *NAMES), sections=True, heading=_heading)


def _ranked(cells: pd.DataFrame) -> dict[tuple[str, str, str], list[tuple[str, float]]]:
    """Returns {(model, phase, sparsity): methods with their top-1, the best first}."""
    found: dict[tuple[str, str, str], dict[str, tuple[str, float]]] = {}
    for phase, said in PHASES.items():
        known = cells[cells[f"{phase}_mean"].notna()]
        for _, cell in known.sort_values(["sparsity", f"{phase}_mean"], ascending=[True, False]).iterrows():
            pattern = percent(cell["sparsity"]) if cell["kind"] == LAYER else pattern_in_words(cell["pattern"])
            methods = found.setdefault((cell["model"], said, pattern), {})
            setting = cell["variant"] in SETTINGS
            methods.setdefault(cell["method"] if setting else cell["name"], (cell["name"], cell[f"{phase}_mean"]))
    models = list(dict.fromkeys(cells["model"]))
    order = sorted(found, key=lambda key: models.index(key[0]))
    return {key: [*found[key].values()] for key in order}


def _fitted(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with names that leave it within 80 columns, and each model named once."""
    widths = {column: max([len(_heading(column)), *table[column].str.len()]) for column in table}
    room = WIDTH - 2 - sum(width + PADDING for column, width in widths.items() if column not in NAMES)
    most = max(SHORTEST, room // len(NAMES) - PADDING)
    cut = {name: table[name].map(lambda text: text if len(text) <= most else f"{text[: most - 1]}…") for name in NAMES}
    return table.assign(**cut, model=table["model"].mask(table["model"].duplicated(), ""))


def _heading(column: str) -> str:
    return "%" if column.endswith("%") else column
