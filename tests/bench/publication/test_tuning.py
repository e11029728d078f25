"""Publication of chosen settings: the choices, their table and the rows, together and of one clean commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import bench
from bench.core.errors import UserError
from bench.results.schema import LayerRow, ResultRow
from bench.results.store import Store
from bench.results.tuned import read_file
from bench.specs.sweep import Sweep
from bench.specs.tuning import tuning_sweep

TOP1 = {"wanda": (80.0,), "ria": (70.0, 72.0, 75.0)}  # at every pattern, by the order of the settings


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return tuning_sweep("embedded", ["wanda", "ria"], ["vit"], count=3)


@pytest.fixture
def fill(repository: Any, sweep: Sweep) -> Callable[..., Store]:
    def write(**values: Any) -> Store:
        store, head = Store(repository.runs, "embedded", "tuning"), repository.git("rev-parse", "HEAD")
        seen: dict[str, int] = {}
        for trial in sweep.trials("embedded"):
            place = seen[trial.pruner] = seen.get(trial.pruner, -1) + 1
            common = {"sweep": "tuning", "profile": "embedded", "trial_id": trial.id, "status": "done", "seed": 0,
                      "model": trial.model, "pruner": trial.pruner, "split": "validation", "dirty": False,
                      "commit": head, "top1": TOP1[trial.pruner][place], **values}  # fmt: skip
            rows = [ResultRow(**common, phase="one_shot", pattern=pattern) for pattern in trial.patterns]
            layers = [LayerRow("tuning", "embedded", trial.id, None, "dense", "a.weight", 4, 0, 0.0)]
            store.write(trial.id, rows, layers)
        return store

    return write


def prepared(repository: Any, sweep: Sweep):
    return bench.prepare_publication(sweep, results=repository.runs)


def test_choices_table_and_rows_are_published_together(repository: Any, sweep: Sweep, fill: Callable) -> None:
    fill()
    head = repository.git("rev-parse", "HEAD")
    before = repository.files()
    found = prepared(repository, sweep)
    assert found.changes == (
        f"tuning (embedded): 12 rows of 4 trials, commit {head[:12]}", "nothing is published yet: 2 rows are added",
    )  # fmt: skip
    assert repository.files() == before, "nothing is written before"
    found.write()
    names = {f"results/embedded/{name}" for name in ("tuned.json", "tuned.md", "tuning.parquet")}
    assert repository.files().keys() - before.keys() == names
    tuned = read_file(repository.root / "results/embedded/tuned.json")
    assert tuned is not None
    assert (tuned.commit, [one.chosen for one in tuned.pruners]) == (head, [0, 2])
    rows = pd.read_parquet(repository.root / "results/embedded/tuning.parquet")
    assert list(dict.fromkeys(rows["trial_id"])) == [trial.id for trial in sweep.trials("embedded")]
    table = (repository.root / "results/embedded/tuned.md").read_text()
    assert "| vit | RIA | per layer | 3 | 70.00 | 75.00 | power=" in table
    assert "| vit | Wanda | per layer | 1 | 80.00 | 80.00 | the authors' |" in table
    repository.commit()
    fill(commit=head, top1=75.0)
    assert prepared(repository, sweep).changes[1:] == (
        "rows: 0 added, 0 removed, 1 with another mean top-1, 1 with the same",
        "largest change of mean top-1: 80 to 75, vit wanda",
    )


def test_what_is_not_whole_or_not_clean_is_refused(repository: Any, sweep: Sweep, fill: Callable) -> None:
    with pytest.raises(UserError, match=r"tuning \(embedded\): 4 of 4 trials are not done"):
        prepared(repository, sweep)
    fill(dirty=True)
    with pytest.raises(UserError, match="rows of code that was not committed"):
        prepared(repository, sweep)
    fill(violations=3)
    with pytest.raises(UserError, match="4 trials break their pattern"):
        prepared(repository, sweep)
    store = fill()
    trial = sweep.trials("embedded")[-1].id
    common = {"trial_id": trial, "commit": repository.git("rev-parse", "HEAD"), "dirty": False}
    store.write(trial, [ResultRow(**common, status="timeout")], [])
    with pytest.raises(UserError, match=r"1 of 4 trials are not done \(1 timeout\)"):
        prepared(repository, sweep)
    store.write(trial, [ResultRow(**common, status="failed", error="no inverse")], [])
    assert prepared(repository, sweep).changes[1] == "1 of 4 trials failed: their settings are not chosen"
    before = repository.files()
    with pytest.raises(UserError, match="tuning has no table for a document"):
        prepared(repository, sweep).write(repository.root / "README.md")
    assert repository.files() == before
