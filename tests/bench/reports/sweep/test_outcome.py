"""The table at the end of a run."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bench.reports.sweep.outcome import outcome_table

PUBLISHED = Path(__file__).parents[4] / "results/embedded"


def printed(rows: pd.DataFrame) -> list[str]:
    console = Console(file=StringIO(), width=80, color_system=None)
    with console.capture() as shown:
        console.print(outcome_table(rows, "a sweep"))
    return shown.get().splitlines()


@pytest.mark.parametrize("sweep", ["table1", "structured", "attribution", "nm"])
def test_all_numbers_are_within_80_columns(sweep: str) -> None:
    lines = printed(pd.read_parquet(PUBLISHED / f"{sweep}.parquet"))
    assert max(map(len, lines)) <= 80
    body = [line for line in lines if "one-shot" in line]
    assert body
    for line in body:
        assert [word for word in line.split() if word.replace(".", "").isdigit() and "." in word], line
    assert not [line for line in lines if ".…" in line], "numbers are whole"


def test_the_best_two_by_their_means() -> None:
    rows = pd.read_parquet(PUBLISHED / "table1.parquet")
    rows = rows[(rows["model"] == "xcit") & rows["sparsity_target"].isin([0.9])]
    means = rows[(rows["phase"] == "finetuned") & (rows["setting"] == "tuned")].groupby("pruner")["top1"].mean()
    best, following = means.sort_values(ascending=False).head(2)
    [line] = [line for line in printed(rows) if "fine-tuned" in line]
    assert [f"{best:.2f}", f"{following:.2f}"] == [word for word in line.split() if word.count(".") == 1][-2:]
    assert "CAP" in line
