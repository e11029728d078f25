from __future__ import annotations

import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.errors import UserError
from bench.results.schema import ADDED_COLUMNS, SCHEMA, LayerRow, ResultRow
from bench.results.store import DAMAGED, Store, TrialFailure


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "embedded", "sweep")


def row(**values: Any) -> ResultRow:
    return ResultRow(**{"trial_id": "a", "status": "done", "phase": "one_shot", **values})


def layer_row() -> LayerRow:
    return LayerRow("sweep", "embedded", "a", "0.5", "one_shot", "fc1.weight", weights=6, zeros=3, sparsity=0.5)


def test_round_trip(store: Store) -> None:
    store.write("a", [row(top1=91.5)], [layer_row()])
    assert store.status("a") == "done"
    assert store.is_finished("a")
    assert store.status("b") is None
    rows = store.collect(["a", "b"])
    assert list(rows.columns) == SCHEMA.names
    assert rows["top1"].tolist() == [91.5]
    assert math.isnan(rows["loss"][0]), "what was not measured is null"
    pd.testing.assert_frame_equal(store.read(), rows)
    pd.testing.assert_frame_equal(Store(store.folder.parents[1], "embedded", "sweep").read(), rows)
    assert pq.read_table(store.collected_layers)["zeros"].to_pylist() == [3]


def test_hints_are_commands_that_work(tmp_path: Path) -> None:
    mine = Store(Path("runs"), "embedded", "mine", source="my/sweep.py")
    assert mine.command("run") == "capbench run my/sweep.py"
    other = Store(tmp_path / "my results", "imagenet", "table1", source="table1")
    assert other.command("status") == f"capbench status table1 --profile imagenet --results '{tmp_path}/my results'"
    assert Store(tmp_path, "embedded", "mine").command("run") is None
    for source, hint in (("m.py", f": capbench run m.py --results {tmp_path}"), (None, "")):
        with pytest.raises(UserError, match=rf"no trial of s \(embedded\) has run yet{hint}$"):
            Store(tmp_path, "embedded", "s", source=source).collect(["a"])


def test_one_failed_row_makes_a_failed_trial(store: Store) -> None:
    store.write("a", [row(), row(status="failed", error="boom", host="n1", job="7_1")], [])
    assert store.status("a") == "failed"
    assert store.failure("a") == TrialFailure("boom", "n1", "7_1")
    assert store.given_up("a", "7_1")
    assert not store.given_up("a", "7_2"), "another job may try again"
    assert not store.is_finished("a")
    store.write("a", [row(), row(status="skipped")], [])
    assert store.is_finished("a")
    assert store.failure("a") == TrialFailure()


def test_unknown_columns_are_refused_and_nothing_is_left(store: Store) -> None:
    with pytest.raises(TypeError, match="accuracy"):
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
    here, elsewhere = f"{platform.node()}.12", "elsewhere.12"
    for process in (here, f"{here}3", elsewhere):
        (store.folder / f".b.parquet.{process}").write_bytes(b"half a fi")
    store.discard_unfinished(12)
    left = {f".b.parquet.{here}3", f".b.parquet.{elsewhere}", "a.layers.parquet", "a.parquet"}
    assert {p.name for p in store.folder.iterdir()} == left


@pytest.mark.parametrize("name", ["a.parquet", "a.layers.parquet"])
@pytest.mark.parametrize("damage", ["cut off", "a byte changed"])
def test_a_damaged_file_is_to_be_run_again_and_the_others_are_collected(store: Store, name: str, damage: str) -> None:
    store.write("a", [row(top1=1.0)], [layer_row()])
    store.write("b", [row(trial_id="b", top1=2.0)], [])
    path = store.folder / name
    whole = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
        whole[start + 40] ^= 0xFF
        path.write_bytes(whole)
    assert store.status("a") == DAMAGED
    assert not store.is_finished("a")
    assert store.collect(["a", "b"])["trial_id"].tolist() == ["b"]


def test_a_file_of_another_schema_is_reported(store: Store) -> None:
    store.folder.mkdir(parents=True)
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


def test_columns_added_later_are_null_in_an_older_file(store: Store) -> None:
    store.write("a", [row(top1=1.0, job="7")], [])
    added = [name for name in ADDED_COLUMNS if name in SCHEMA.names]
    older = pq.read_table(store.path("a")).drop_columns(added)
    pq.write_table(older, store.path("a"))
    rows = store.collect(["a"])
    assert rows["top1"].tolist() == [1.0]
    assert rows[added].isna().all(axis=None)
    pq.write_table(older.drop_columns(["top1"]), store.path("a"))
    with pytest.raises(UserError, match="another schema"):
        store.status("a")


HOLD = """
import pathlib, sys
from bench.results.store import Store
with Store(pathlib.Path(sys.argv[1]), "embedded", "sweep").lock("a"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_others_out_until_its_process_ends(store: Store, tmp_path: Path) -> None:
    assert not store.is_locked("a")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert store.is_locked("a")
        assert not store.is_locked("b")
        process.kill()
    assert not store.is_locked("a")
