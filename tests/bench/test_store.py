from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.errors import UserError
from bench.store import SCHEMA, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "embedded", "sweep")


def row(**values) -> dict:
    return {"trial_id": "a", "status": "done", "phase": "one_shot", **values}


def test_round_trip(store: Store) -> None:
    store.write("a", [row(top1=91.5)], [{"layer": "fc1.weight", "zeros": 3}])
    assert store.status("a") == "done"
    assert store.is_finished("a")
    assert store.status("b") is None
    rows = store.collect(["a", "b"])
    assert list(rows.columns) == SCHEMA.names
    assert rows["top1"].tolist() == [91.5]
    assert math.isnan(rows["loss"][0]), "what was not measured is null"
    pd.testing.assert_frame_equal(store.read(), rows)
    assert pq.read_table(store.collected_layers)["zeros"].to_pylist() == [3]


def test_one_failed_row_makes_a_failed_trial(store: Store) -> None:
    store.write("a", [row(), row(status="failed", error="boom")], [])
    assert store.status("a") == "failed"
    assert store.error("a") == "boom"
    assert not store.is_finished("a")
    store.write("a", [row(), row(status="skipped")], [])
    assert store.is_finished("a")


def test_unknown_columns_are_refused_and_nothing_is_left(store: Store) -> None:
    with pytest.raises(KeyError, match="accuracy"):
        store.write("a", [row(accuracy=3)], [])
    assert store.status("a") is None


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a", [row(top1=1.0)], [])

    def full(table: pa.Table, path: Path, **_) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        store.write("a", [row(top1=2.0)], [])
    monkeypatch.undo()
    assert store.collect(["a"])["top1"].tolist() == [1.0]
    assert sorted(p.name for p in store.folder.iterdir()) == ["a.layers.parquet", "a.parquet"]


def test_what_an_ended_process_left_is_removed(store: Store) -> None:
    store.write("a", [row()], [])
    for pid in (12, 123):
        (store.folder / f".b.parquet.{pid}").write_bytes(b"half a fi")
    store.discard_unfinished(12)
    assert sorted(p.name for p in store.folder.iterdir()) == [".b.parquet.123", "a.layers.parquet", "a.parquet"]


def test_damaged_and_foreign_files_are_reported(store: Store) -> None:
    store.write("a", [row()], [])
    whole = store.path("a").read_bytes()
    store.path("a").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no readable parquet file"):
        store.status("a")
    pq.write_table(pa.table({"x": [1]}), store.path("a"))
    with pytest.raises(UserError, match="another schema"):
        store.collect(["a"])


def test_nothing_to_collect_or_read(store: Store) -> None:
    with pytest.raises(UserError, match="no trial of sweep"):
        store.collect(["a"])
    with pytest.raises(UserError, match="does not exist: run the sweep first"):
        store.read()


def test_a_folder_that_cannot_be_written_is_found_before_work(tmp_path: Path) -> None:
    (tmp_path / "embedded").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot write results"):
        Store(tmp_path, "embedded", "sweep").check_writable()
