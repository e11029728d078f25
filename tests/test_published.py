"""Published results can be made again: each file is of one commit, nothing uncommitted, and a rerun gives the same."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.execution.rerun import CLOSE, EXACT, compared
from bench.execution.stored import StoredTrial
from bench.execution.tuning import choose
from bench.results.parquet import read_rows
from bench.results.schema import SCHEMA
from bench.results.tuned import TunedSettings
from bench.specs.discovery import load_sweep
from bench.trials.runner import run_trial

ROOT = Path(__file__).parents[1]


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


PUBLISHED = git("ls-files", "results/*.parquet").decode().split()
CHOICES = git("ls-files", "results/*/tuned.json").decode().split()


@pytest.mark.parametrize("path", PUBLISHED)
def test_every_published_file_is_of_one_commit_and_nothing_uncommitted(path: str) -> None:
    content = git("show", f"HEAD:{path}")
    if "commit" not in pq.read_schema(io.BytesIO(content)).names:
        pytest.skip("layers and predictions say nothing of the code")
    rows = pd.read_parquet(io.BytesIO(content), columns=["commit", "dirty"])
    assert rows["commit"].notna().all()
    assert rows["dirty"].eq(False).all()
    assert rows["commit"].nunique() == 1


@pytest.mark.parametrize(
    ("sweep", "model", "pruner", "pattern"),
    [
        ("one_shot_curves", "vit", "cap", "0.9"),
        ("one_shot_curves", "convnext", "wanda", "0.7@layer"),
        ("nm", "xcit", "woodfisher", "1:4"),
    ],
)
def test_a_rerun_gives_what_is_published(sweep: str, model: str, pruner: str, pattern: str, tmp_path: Path) -> None:
    """Within what processors differ by: dense and pruned model, sparsities, losses. The trial is that of the rows."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(git("show", f"HEAD:results/embedded/{sweep}.parquet"))
    rows = read_rows(path, SCHEMA).to_pylist()
    wanted = {"model": model, "pruner": pruner, "pattern": pattern, "seed": 0, "phase": "one_shot"}
    [trial_id] = {row["trial_id"] for row in rows if all(row[key] == value for key, value in wanted.items())}
    stored = StoredTrial(trial_id, path, tuple(row for row in rows if row["trial_id"] == trial_id), tmp_path)
    old = {(row["pattern"], row["phase"]): row for row in stored.rows}
    one_shot = {"patterns": (pattern,), "finetune_at": (), "finetune": None}
    new = run_trial(stored.trial.model_copy(update=one_shot)).rows
    assert [row.pattern for row in new] == [None, pattern]
    for row in new:
        key = row.pattern, row.phase
        found = compared(old.get(key), dataclasses.asdict(row), *key, "not published")
        assert found.agreement in (EXACT, CLOSE), found.line()


@pytest.mark.parametrize("path", CHOICES)
def test_settings_are_those_that_the_published_rows_choose(path: str, tmp_path: Path) -> None:
    """Of the trials of the sweep as it is defined, on validation images."""
    tuned = TunedSettings.model_validate(json.loads(git("show", f"HEAD:{path}")))
    rows = tmp_path / "rows.parquet"
    rows.write_bytes(git("show", f"HEAD:{Path(path).with_name('tuning.parquet')}"))
    found = choose(load_sweep("tuning").trials(tuned.profile), read_rows(rows, SCHEMA).to_pandas())
    assert found == tuned
