"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pandas as pd
from rich import box
from rich.table import Table


def text_table(
    cells: pd.DataFrame,
    title: str,
    left: Collection[str],
    wrapped: Collection[str] = (),
    sections: bool = False,
    heading: Callable[[str], str] = str,
) -> Table:
    """Returns a table of text cells to print.

    Args:
        cells: Cells, text alone.
        title: Line above the table.
        left: Names of the columns that are aligned to the left; all others to the right.
        wrapped: Names of the columns whose cells may take several lines where room is short.
        sections: Whether a line separates rows of different text in the first column; an empty cell there continues
            the section.
        heading: Text above a column, by its name.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in cells.columns:
        justify = "left" if column in left else "right"
        table.add_column(heading(column), justify=justify, no_wrap=column not in wrapped)  # type: ignore[arg-type]
    for number, line in enumerate(cells.itertuples(index=False, name=None)):
        if sections and number and line[0] and line[0] != cells.iloc[number - 1, 0]:
            table.add_section()
        table.add_row(*line)
    return table
