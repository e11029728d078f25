"""Published results can be made again: each file is of one commit, nothing uncommitted, and a rerun gives the same."""

from __future__ import annotations

import dataclasses
import io
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.execution.rerun import CLOSE, EXACT, compared
from bench.results.parquet import read_rows
from bench.results.schema import SCHEMA
from bench.specs.discovery import load_sweep
from bench.trials.runner import run_trial

ROOT = Path(__file__).parents[1]
MIXED = ("results/embedded/ablation.parquet",)  # rows of two commits, from before a file was published as a whole


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


PUBLISHED = git("ls-files", "results/*.parquet").decode().split()


@pytest.mark.parametrize("path", PUBLISHED)
def test_every_published_file_is_of_one_commit_and_nothing_uncommitted(path: str) -> None:
    content = git("show", f"HEAD:{path}")
    if "commit" not in pq.read_schema(io.BytesIO(content)).names:
        pytest.skip("layers and predictions say nothing of the code")
    rows = pd.read_parquet(io.BytesIO(content), columns=["commit", "dirty"])
    assert rows["commit"].notna().all()
    assert rows["dirty"].eq(False).all()
    assert (rows["commit"].nunique() == 1) != (path in MIXED)


@pytest.mark.parametrize(("model", "pruner", "pattern"), [("vit", "cap", "0.9"), ("convnext", "wanda", "0.7@layer")])
def test_a_rerun_gives_what_is_published(model: str, pruner: str, pattern: str, tmp_path: Path) -> None:
    """Within what processors differ by: dense model, pruned model, sparsities, losses."""
    [trial] = [
        trial
        for trial in load_sweep("one_shot_curves").trials("embedded")
        if (trial.model, trial.pruner, trial.seed) == (model, pruner, 0) and pattern in trial.patterns
    ]
    stored = tmp_path / "rows.parquet"
    stored.write_bytes(git("show", "HEAD:results/embedded/one_shot_curves.parquet"))
    old = {
        (row["pattern"], row["phase"]): row
        for row in read_rows(stored, SCHEMA).to_pylist()
        if row["trial_id"] == trial.id
    }
    new = run_trial(trial.model_copy(update={"patterns": (pattern,)})).rows
    assert [row.pattern for row in new] == [None, pattern]
    for row in new:
        key = row.pattern, row.phase
        found = compared(old.get(key), dataclasses.asdict(row), *key, "not published")
        assert found.agreement in (EXACT, CLOSE), found.line()
