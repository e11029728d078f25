from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import bench
from bench.core.errors import UserError
from bench.latency.engines import ENGINES
from bench.latency.run import MODELS
from bench.results.timings import SCHEMA

RESULTS = Path(__file__).parents[3] / "results"


def fill_speedup(repository: Any, table: pa.Table) -> None:
    """Writes measurements as if of the checkout's commit."""
    head = pa.array([repository.git("rev-parse", "HEAD")] * len(table), pa.string())
    table = table.set_column(table.schema.get_field_index("commit"), "commit", head)
    path = repository.runs / "speedup/cells/all.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables([SCHEMA.empty_table(), table], promote_options="default"), path)


def renamed(table: pa.Table, column: str, old: str, new: str) -> pa.Table:
    """Returns the table, and behind it the rows of one name under another."""
    rows = table.filter(pc.field(column) == old)
    names = pa.array([new] * len(rows), pa.string())
    return pa.concat_tables([table, rows.set_column(rows.schema.get_field_index(column), column, names)])


def every_cell() -> pa.Table:
    """Returns the committed measurements, and rows like theirs of the models and engines that they are older than."""
    table = pq.read_table(RESULTS / "speedup/speedup.parquet")
    names = [model.rpartition("/")[2] for model in MODELS]
    for model in set(names) - set(table["model"].to_pylist()):
        table = renamed(table, "model", "deit_tiny", model)
    for engine in set(ENGINES) - set(table["engine"].to_pylist()):
        table = renamed(table, "engine", "sparse", engine)
    return table


def test_the_speedup_is_published_as_a_whole(repository: Any) -> None:
    with pytest.raises(UserError, match="has no measurements"):
        bench.prepare_publication("speedup", results=repository.runs)
    table, cells = every_cell(), len(MODELS) * 3
    fill_speedup(repository, table.filter(~((pc.field("model") == "xcit_small") & (pc.field("batch") == 16))))
    with pytest.raises(
        UserError, match=rf"not all engines are timed in {cells} cells \(xcit_small at batch 16\): nox -s"
    ):
        bench.prepare_publication("speedup", results=repository.runs)
    fill_speedup(repository, table)
    (repository.root / "results/embedded").mkdir()
    shutil.copy(RESULTS / "embedded/table1.parquet", repository.root / "results/embedded")
    readme = repository.root / "README.md"
    readme.write_text("<!-- speedup -->\n<!-- /speedup -->\n")
    found = bench.prepare_publication("speedup", results=repository.runs)
    assert found.changes[1] == f"nothing is published yet: {len(table)} rows are added"
    written = found.write(readme)
    assert {path.name for path in written if path != readme} == {
        f"speedup.{end}" for end in ("parquet", "md", "csv", "png", "svg")
    }
    assert "](results/speedup/speedup.png)" in readme.read_text(), "links are those of the published files"
    assert "* C5" in readme.read_text()


def test_benchmarks_are_published_and_none_is_lost(repository: Any) -> None:
    with pytest.raises(UserError, match=r"core\.json is no output of `nox -s benchmark`"):
        bench.prepare_publication("benchmarks", results=repository.runs)
    content = json.loads((RESULTS / "benchmarks/core.json").read_text())
    content["commit_info"] |= {"id": repository.git("rev-parse", "HEAD"), "dirty": False}
    path = repository.runs / "benchmarks/core.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    written = bench.prepare_publication("benchmarks", results=repository.runs).write()
    assert {path.name for path in written} == {"core.json", "core.md", "core.png", "core.svg"}
    repository.commit()
    content["benchmarks"][1]["stats"]["median"] *= 2
    path.write_text(json.dumps(content))
    changes = bench.prepare_publication("benchmarks", results=repository.runs).changes
    assert changes[1].startswith("rows: 0 added, 0 removed, 1 with another median seconds, 86 with the same")
    assert "test_elimination" in changes[2]
    del content["benchmarks"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"\.py::test_elimination\[.* are published but were not measured"):
        bench.prepare_publication("benchmarks", results=repository.runs)
