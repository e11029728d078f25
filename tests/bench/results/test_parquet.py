from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.errors import UserError
from bench.results.parquet import DamagedError, read_rows, write_rows, write_table
from bench.results.schema import SCHEMA, ResultRow, arrow_schema


@dataclass
class Row:
    name: str
    count: int | None = None


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "rows.parquet"
    write_rows([Row("a", 1), Row("b")], arrow_schema(Row), path)
    table = read_rows(path, arrow_schema(Row))
    assert table.to_pylist() == [{"name": "a", "count": 1}, {"name": "b", "count": None}]
    write_table(table, path)
    assert read_rows(path, arrow_schema(Row)) == table
    write_rows([], arrow_schema(Row), path)
    assert len(read_rows(path, arrow_schema(Row))) == 0


def test_unknown_columns_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    @dataclass
    class Stray(ResultRow):
        accuracy: float = 3

    with pytest.raises(KeyError, match="accuracy"):
        write_rows([Stray()], SCHEMA, tmp_path / "rows.parquet")
    assert not list(tmp_path.iterdir())


def test_what_is_no_such_file_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_text("no parquet")
    with pytest.raises(DamagedError, match="is no readable parquet file"):
        read_rows(path, SCHEMA)
    pq.write_table(pa.table({"name": ["a"], "count": ["x"]}), path)
    with pytest.raises(UserError, match=r"another schema \(types differ\)"):
        read_rows(path, arrow_schema(Row))
    with pytest.raises(UserError, match=r"another schema \(.*count.* differ\)"):
        read_rows(path, SCHEMA)


def test_columns_added_in_the_middle_are_null_in_older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Longer:
        name: str
        setting: str | None = None
        count: int | None = None

    monkeypatch.setattr("bench.results.parquet.ADDED_COLUMNS", ("setting",))
    path, schema = tmp_path / "rows.parquet", arrow_schema(Longer)
    write_rows([Row("a", 1)], arrow_schema(Row), path)
    table = read_rows(path, schema)
    assert table.schema.equals(schema)
    assert table.to_pylist() == [{"name": "a", "setting": None, "count": 1}]
    pq.write_table(pa.table({"count": [1], "name": ["a"]}), path)
    assert read_rows(path, schema) == table, "the order of columns is the schema's"
    pq.write_table(pa.table({"name": ["a"], "count": ["1"]}), path)
    with pytest.raises(UserError, match=r"another schema \(types differ\)"):
        read_rows(path, schema)
    pq.write_table(pa.table({"name": ["a"], "setting": [1], "count": [1]}), path)
    with pytest.raises(UserError, match=r"another schema \(types differ\)"):
        read_rows(path, schema)
    pq.write_table(pa.table({"name": ["a"]}), path)
    with pytest.raises(UserError, match=r"another schema \(count, setting differ\)"):
        read_rows(path, schema)
