"""What is published is read where nothing was run, and never written to by a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import cli
from bench.results import folders
from bench.specs.discovery import load_results, load_sweep

RESULTS = Path(__file__).parents[3] / "results"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone, as the current folder; of Table 1 it has one model."""
    for name in ("embedded/table1.parquet", "speedup/speedup.parquet", "benchmarks/core.json", "paper_values.csv"):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / name, tmp_path / "results" / name)
    table1 = tmp_path / "results/embedded/table1.parquet"
    pq.write_table(pq.read_table(table1, filters=[("model", "=", "vit")]), table1)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(clone: Path, sweep: str = "table1") -> str:
    """Returns what is told about published rows."""
    path = f"results/embedded/{sweep}.parquet"
    rows = pd.read_parquet(clone / path)
    return f"{path}: {rows['trial_id'].nunique()} trials, {len(rows):,} rows"


def test_reports_in_a_fresh_clone_are_of_what_is_published(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(clone / "results")
    cli.main(["table", "table1"])
    lines = capsys.readouterr().out.splitlines()
    assert f"published {published(clone)}" in lines
    assert lines[-1] == "written: runs/embedded/table1.{md,csv}"
    cli.main(["table", "table1", "--results", "results"])
    assert capsys.readouterr().out.splitlines()[-2:] == lines[-2:]
    cli.main(["speedup"])
    assert "published results/speedup/speedup.parquet: 12 cells, 96 rows" in capsys.readouterr().out
    cli.main(["benchmarks"])
    assert f"measurements: {clone}/results/benchmarks/core.json" in capsys.readouterr().out
    cli.main(["status", "table1"])
    all_of_it = len(load_sweep("table1").trials("embedded"))
    assert capsys.readouterr().out.splitlines()[-2:] == [f"{all_of_it} to run", f"published {published(clone)}"]
    assert contents(clone / "results") == before
    assert len(load_results("table1")) == len(pd.read_parquet(clone / "results/embedded/table1.parquet"))


def test_a_filtered_run_leaves_what_is_published(clone: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report is then of what was run, and says how much is published."""
    shutil.copy(clone / "results/embedded/table1.parquet", clone / "results/embedded/tiny.parquet")
    text = tiny.replace('finetune_at=("0.75",)', "finetune_at=()").replace("=1000", "=100")
    (clone / "tiny.py").write_text(text)
    before = contents(clone / "results")
    cli.main(["run", "tiny.py", "--only", "pruner=magnitude", "--jobs", "1"])
    cli.main(["table", "tiny.py"])
    line = f"runs/embedded/tiny.parquet: 1 trial, 2 rows; published in {published(clone, 'tiny')}"
    assert line in capsys.readouterr().out
    assert contents(clone / "results") == before


def test_a_run_refuses_the_published_folder(clone: Path, fails: Callable[..., str]) -> None:
    before = contents(clone / "results")
    refusal = "results has the published results, which `capbench publish` alone changes: give another --results"
    for command in (
        ["run", "table1", "--only", "model=vit"],
        ["collect", "table1"],
        ["latency", "--model", "vit", "--profile", "embedded", "--engines", "eager"],
        ["publish", "table1"],
    ):
        assert refusal in fails(*command, "--results", "results")
    assert contents(clone / "results") == before


def test_a_folder_that_is_named_is_meant(clone: Path, fails: Callable[..., str]) -> None:
    assert "elsewhere/embedded/table1.parquet does not exist" in fails("table", "table1", "--results", "elsewhere")
