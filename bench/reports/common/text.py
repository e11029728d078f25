"""Numbers in words, text tables in Markdown, and marked places of documents."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench.core import files
from bench.core.errors import UserError

OUTCOMES = ("holds", "holds in part", "does not hold")  # of a claim


def plus_minus(mean: float, std: float) -> str:
    """Formats a mean and its standard deviation, which is left out for a single value, like the mean for none."""
    if pd.isna(mean):
        return ""
    return f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f} ± {std:.2f}"


def number(value: float) -> str:
    """Formats a number with two decimals; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.2f}"


def whole(value: float) -> str:
    """Formats a whole number; empty where there is none."""
    return "" if pd.isna(value) else str(int(value))


def significant(value: float) -> str:
    """Formats a number with three significant digits; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.3g}"


def seconds(value: float) -> str:
    """Formats a time in seconds, short ones in milliseconds."""
    return f"{value:.3g} s" if value >= 0.01 else f"{1000 * value:.2g} ms"


def seconds_in_column(value: float) -> str:
    """Formats a time for a column of seconds, without the unit; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def mebibytes(value: float | None) -> str:
    """Formats a number of bytes in MiB; empty where there is none."""
    return "" if value is None or pd.isna(value) else f"{value / 2**20:,.0f} MiB"


def kibibytes(value: float) -> str:
    """Formats a number of bytes for a column of KiB, without the unit; empty where there is none."""
    return "" if pd.isna(value) else f"{value / 2**10:,.0f}"


def joined(items: Iterable[str]) -> str:
    """Joins words: `a, b and c`."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def extent(holds: pd.Series) -> str:
    """Returns whether a claim holds in all, some or none of its cases, in words.

    Args:
        holds: Truth of the claim in each case.
    """
    return OUTCOMES[0] if holds.all() else OUTCOMES[1] if holds.any() else OUTCOMES[2]


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
    with files.atomic_write(document) as temporary:
        temporary.write_text(f"{before}{begin}{text}{end}{after}")
