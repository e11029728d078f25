from __future__ import annotations

import io

import pandas as pd
from rich.console import Console

from bench.reports.common.console import text_table

CELLS = pd.DataFrame(
    [["vit", "1.00", "one two three"], ["", "20.00", ""], ["dino", "3.00", ""]], columns=["model", "top-1", "variant"]
)


def printed(width: int = 80, **options: object) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(text_table(CELLS, "Title", left=("model", "variant"), **options))  # type: ignore[arg-type]
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_text_to_the_left_and_numbers_to_the_right() -> None:
    title, _, header, _, first, second, third, *_ = printed()
    assert title == "Title"
    assert header.split() == ["model", "top-1", "variant"]
    assert first.index("1.00") == second.index("20.00") + 1
    assert third.split() == ["dino", "3.00"]


def test_sections_begin_where_the_first_column_changes() -> None:
    assert len(printed(sections=True)) == len(printed()) + 1
    lines = printed(sections=True)
    assert lines[lines.index(next(line for line in lines if "dino" in line)) - 1] == ""


def test_headings_and_wrapped_columns() -> None:
    assert "MODEL" in printed(heading=str.upper)[2]
    assert len(printed(width=22, wrapped=("variant",))) > len(printed(width=22))
