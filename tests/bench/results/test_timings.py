from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core import provenance
from bench.core.errors import UserError
from bench.results.schema import ADDED_COLUMNS
from bench.results.timings import SCHEMA, TIMED, Cell, TimingRow, Timings

COMMITTED = sorted((Path(__file__).parents[3] / "results" / "speedup").glob("**/*.parquet"))
COMMIT = "c0ffee" * 6


def cell(**values: Any) -> Cell:
    usual = {"profile": "embedded", "model": "vit", "batch": 2, "threads": 1, "engines": ("eager",), "sparsities": ()}
    return Cell(**{**usual, **values})


def row(one: Cell, **values: Any) -> TimingRow:
    usual = {
        "model": one.model, "family": "vit", "timm_name": "vit", "batch": one.batch, "threads": one.threads,
        "engine": "eager", "dense": True, "sparsity_target": 0.0, "status": TIMED, "seconds": [0.2, 0.1],
        "cell": one.id, "commit": COMMIT, "dirty": False, "versions": "{}", "processor": provenance.processor(),
        "cores": 4, "started_at": datetime(2025, 1, 2, tzinfo=timezone.utc),
    }  # fmt: skip
    return TimingRow(**{**usual, **values})


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_schema_is_that_of_committed_measurements(path: Path) -> None:
    found = pq.read_schema(path)
    assert [name for name in SCHEMA.names if name in found.names] == found.names
    assert set(SCHEMA.names) - set(found.names) <= set(ADDED_COLUMNS)
    for name in found.names:
        assert SCHEMA.field(name).equals(found.field(name)), name


def test_there_are_committed_measurements_and_times_are_lists() -> None:
    assert COMMITTED
    assert SCHEMA.field("seconds").type == pa.list_(pa.float64())


def test_a_cells_hash_depends_on_every_value() -> None:
    measured = cell(engines=("eager", "sparse"), sparsities=(0.5,), seconds=1.0)
    assert measured.id == "0fdfb8ee94a5cdda", "measurements on disk have it"
    others = {"batch": 3, "threads": 2, "sparsities": (0.5,), "seconds": 1.0, "memory": True, "seed": 1}
    assert len({cell().id, *(cell(**{name: value}).id for name, value in others.items())}) == 7
    assert (cell().label, cell(threads=2).label) == ("vit, batch 2, 1 thread", "vit, batch 2, 2 threads")


def test_rows_are_written_read_and_collected(tmp_path: Path) -> None:
    timings = Timings(tmp_path, "x")
    with pytest.raises(UserError, match="has no measurements: make some with capbench latency --name x"):
        timings.collect()
    with pytest.raises(UserError, match="does not exist: measure with capbench latency --name x"):
        timings.read()
    first, second, absent = cell(batch=8), cell(batch=4), cell(batch=1)
    for one in (first, second):
        timings.write(one, [row(one), row(one, engine="broken", status="failed", seconds=None, error="no")])
    found = timings.rows([first, absent])
    assert found["engine"].tolist() == ["eager", "broken"]
    assert found["seconds"][0].tolist() == [0.2, 0.1]
    assert found["seconds"][1] is None
    collected = timings.collect()
    assert collected["batch"].tolist() == [4, 4, 8, 8]
    assert collected["engine"].tolist() == ["eager", "broken"] * 2
    assert timings.read().equals(collected)


def test_a_cell_is_measured_by_this_code_on_this_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: COMMIT)
    monkeypatch.setattr(provenance, "dirty", lambda: False)
    timings, one = Timings(tmp_path, "x"), cell()
    assert not timings.is_measured(one)
    timings.write(one, [row(one)])
    assert timings.is_measured(one)
    assert not timings.is_measured(cell(seconds=3.0)), "of the same file, with another value"
    monkeypatch.setattr(provenance, "dirty", lambda: True)
    assert not timings.is_measured(one)
    monkeypatch.setattr(provenance, "dirty", lambda: False)
    timings.write(one, [row(one, processor="another")])
    assert not timings.is_measured(one)
    timings.path(one).write_bytes(b"half a file")
    assert not timings.is_measured(one)
