"""What is invalid is shown as such in tables, and no figure, claim or ranking uses it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench import cli
from bench.reports.sweep import tables
from bench.reports.sweep.claims import claims
from bench.reports.sweep.report import markdown
from bench.reports.sweep.summary import SweepResults, summarise
from bench.results.schema import SCHEMA
from bench.results.validity import INVALID


@pytest.fixture
def rows(table_rows) -> pd.DataFrame:
    """Table 1 in small, in which one seed of CAP at 75 % is invalid in both phases."""
    rows = table_rows()
    wrong = (rows["pruner"] == "cap") & (rows["sparsity_target"] == 0.75) & (rows["seed"] == 1)
    rows = rows.astype({"error": object})
    rows.loc[wrong, ["status", "error"]] = [INVALID, "keeps 100 %"]
    return rows


def test_tables_say_invalid_in_place_of_a_number(rows: pd.DataFrame) -> None:
    shown = tables.detailed(summarise(rows)).set_index(["pruner", "sparsity"])
    assert shown.loc[("CAP", "75 %"), ["one-shot top-1", "fine-tuned top-1"]].tolist() == [INVALID, INVALID]
    assert shown.loc[("CAP", "75 %"), ["one-shot drop", "n"]].tolist() == ["", ""]
    assert shown.loc[("CAP", "95 %"), "one-shot top-1"] == "41.00 ± 1.00"
    small = tables.compact(summarise(rows)).set_index("pruner")
    assert small.loc["CAP", "one-shot 75 %"] == INVALID
    assert small.loc["GM", "one-shot 75 %"] == "61.00 ± 1.00"
    assert "invalid: weights or masks are not at the pattern" in " ".join(markdown(rows, Path(), "t").split())


def test_no_claim_uses_it(rows: pd.DataFrame, table_rows) -> None:
    assert claims(table_rows())[0].startswith("C1 ")
    found = claims(rows)
    assert not any(text.startswith("C1 ") for text in found), "its only cell is invalid"
    assert found[-1] == "No claim uses what is invalid: CAP 75 % one-shot (vit); CAP 75 % fine-tuned (vit)."
    results = SweepResults.of(rows)
    assert len(results.done) == len(rows) - 2 * 3, "the other seeds of the cell neither"
    assert ("cap", 0.75) not in set(zip(results.summary["pruner"], results.summary["sparsity"], strict=True))


def test_all_rows_invalid(rows: pd.DataFrame) -> None:
    every = rows.assign(status=INVALID)
    assert [text.partition(":")[0] for text in claims(every)] == ["No claim uses what is invalid"]
    shown = tables.detailed(summarise(every))["one-shot top-1"]
    assert set(shown) == {INVALID}


def test_commands_say_a_line_and_fail(rows: pd.DataFrame, tmp_path: Path, capsys) -> None:
    (tmp_path / "embedded").mkdir()
    table = rows.astype({"started_at": "datetime64[us, UTC]"})
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False), tmp_path / "embedded/table1.parquet")
    for command in ("table", "plot"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([command, "table1", "--results", str(tmp_path)])
        assert stopped.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("invalid, not ranked: 2 of 9 rows of cap: vit 0.75 one-shot seed 1 keeps 100 %")
    svg = (tmp_path / "embedded/table1.svg").read_text()
    assert "2 points are not shown: invalid" in svg
