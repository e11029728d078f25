"""A checkout of its own, with rows to publish that are copies of committed ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bench.results import folders
from bench.results.schema import LAYER_SCHEMA, SCHEMA
from bench.results.store import Store
from bench.specs.discovery import load_sweep
from bench.specs.sweep import Sweep

COMMITTED = Path(__file__).parents[3] / "results" / "embedded"
PAPER = "family,paper_model,pruner,sparsity,phase,top1,source\n"


@dataclass(frozen=True)
class Repository:
    """A checkout in a temporary folder, and a working folder beside it."""

    root: Path
    runs: Path

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def files(self) -> dict[str, bytes]:
        """Returns all files outside git's own folder, {path: content}."""
        found = (path for path in self.root.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "checkout", tmp_path / "runs")
    for name in ("bench", "cap", "sweeps", "docs", "results"):
        (made.root / name).mkdir(parents=True)
        (made.root / name / "file.py").touch()
    (made.root / "pyproject.toml").touch()
    (made.root / "results" / "paper_values.csv").write_text(PAPER)
    (made.root / "README.md").write_text("before\n<!-- table1 -->\nstale\n<!-- /table1 -->\nafter\n")
    made.git("init", "--quiet")
    made.commit()
    monkeypatch.setattr(folders, "CHECKOUT", made.root)
    return made


@pytest.fixture(scope="session")
def sweep() -> Sweep:
    """Four trials of Table 1: two pruners with two seeds."""
    found = {}
    for trial in load_sweep("table1").trials("embedded"):
        if trial.model == "vit" and trial.pruner in ("magnitude", "cap") and trial.seed < 2:
            found.setdefault((trial.pruner, trial.seed), trial)
    return Sweep(name="table1", title="Table 1", profiles={"embedded": tuple(found.values())})


@pytest.fixture
def fill(repository: Repository, sweep: Sweep) -> Callable[..., Store]:
    """Puts trials into the working folder, with values of columns in place of those of the committed rows.

    What is committed may be of another definition of the sweep: a trial takes the rows of the first with its pruner and
    seed.
    """
    tables = (pq.read_table(COMMITTED / "table1.parquet"), pq.read_table(COMMITTED / "table1.layers.parquet"))
    committed = tables[0].to_pylist()

    def write(trials: int = 4, **values: object) -> Store:
        store = Store(repository.runs, "embedded", "table1")
        store.folder.mkdir(parents=True, exist_ok=True)
        values = {"commit": repository.git("rev-parse", "HEAD"), **values}
        for trial in sweep.trials("embedded")[:trials]:
            wanted = {"model": "vit", "pruner": trial.pruner, "seed": trial.seed}
            first = next(row["trial_id"] for row in committed if wanted.items() <= row.items())
            rows, layers = (table.filter(pc.field("trial_id") == first).to_pylist() for table in tables)
            here = {"trial_id": trial.id}
            full = pa.Table.from_pylist([{**row, **values, **here} for row in rows], schema=SCHEMA)
            pq.write_table(full, store.path(trial.id))
            layers = pa.Table.from_pylist([{**layer, **here} for layer in layers], schema=LAYER_SCHEMA)
            pq.write_table(layers, store.folder / f"{trial.id}.layers.parquet")
        return store

    return write
