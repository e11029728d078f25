from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.results.schema import SCHEMA
from bench.results.validity import invalid_lines, mark_invalid

RESULTS = Path(__file__).parents[3] / "results/embedded"


def rows(**values: object) -> pd.DataFrame:
    usual = {"status": "done", "model": "vit", "pruner": "cap", "pattern": "0.5", "phase": "one_shot", "seed": 0,
             "sparsity_target": 0.5, "sparsity_prunable": 0.5, "violations": 0}  # fmt: skip
    return pd.DataFrame([{**usual, **values}], columns=SCHEMA.names)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "done"),
        ({"violations": 1}, "invalid"),
        ({"sparsity_prunable": 0.0}, "invalid"),
        ({"sparsity_prunable": 0.6}, "invalid"),
        ({"sparsity_prunable": 0.6, "phase": "int8"}, "done"),
        ({"sparsity_prunable": 0.4, "phase": "int8"}, "invalid"),
        ({"sparsity_prunable": None, "violations": None}, "done"),
        ({"sparsity_prunable": 0.0, "status": "skipped"}, "skipped"),
        ({"sparsity_prunable": 0.0, "pattern": None, "phase": "dense"}, "done"),
    ],
)
def test_numbers_of_an_older_file_tell_what_is_invalid(values: dict, status: str) -> None:
    table = rows(**values)
    marked = mark_invalid(table)
    assert marked["status"].tolist() == [status]
    assert table["status"].tolist() == [values.get("status", "done")], "the rows given are left as they are"
    assert bool(invalid_lines(marked)) == (status == "invalid")


def test_a_line_tells_how_many_and_what_is_wrong() -> None:
    table = pd.concat([rows(sparsity_prunable=0.25, violations=3), rows(seed=1), rows(pruner="wanda")])
    assert invalid_lines(mark_invalid(table)) == [
        "invalid, not ranked: 1 of 2 rows of cap: vit 0.5 one-shot seed 0 0.25 of the weights are zero where 0.5 were "
        "wanted, 3 break the pattern"
    ]


@pytest.mark.parametrize("path", sorted(p for p in RESULTS.glob("*.parquet") if "." not in p.stem), ids=str)
def test_no_committed_row_is_invalid(path: Path) -> None:
    table = pd.read_parquet(path)
    pd.testing.assert_frame_equal(mark_invalid(table), table)
