"""Publication of a sweep: only a whole one of this very code, all files or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import bench
from bench.core.errors import UserError
from bench.results.store import Store
from bench.specs.sweep import Sweep

Fill = Callable[..., Store]


def rows_of(store: Store, sweep: Sweep) -> pd.DataFrame:
    """Returns the rows of the first trial; the others have as many."""
    return pd.read_parquet(store.path(sweep.trials("embedded")[0].id))


def test_a_whole_sweep_is_published_with_its_report(repository: Any, sweep: Sweep, fill: Fill) -> None:
    rows = rows_of(fill(), sweep)
    count = 4 * len(rows)
    before = repository.files()
    found = bench.prepare_publication(sweep, results=repository.runs)
    head = repository.git("rev-parse", "HEAD")
    assert found.changes == (
        f"table1 (embedded): {count} rows of 4 trials, commit {head[:12]}",
        f"nothing is published yet: {count} rows are added",
    )
    assert repository.files() == before, "nothing is written before"
    written = found.write(repository.root / "README.md")
    names = {f"results/embedded/table1{end}" for end in (
        ".parquet", ".layers.parquet", ".md", ".csv", ".png", ".svg", "_loss.png", "_loss.svg")}  # fmt: skip
    assert {str(path.relative_to(repository.root)) for path in written} == names | {"README.md"}
    assert all(found.names.fullmatch(f"table1{end}.png") for end in ("_all", "_nm_all", "_ranks", "_size", "_nm"))
    assert repository.files().keys() - before.keys() == names
    readme = (repository.root / "README.md").read_text()
    assert "stale" not in readme
    assert "| vit 50 % | vit 75 % | vit 90 % |\n" in readme
    assert "\n| CAP " in readme
    rows = pd.read_parquet(repository.root / "results/embedded/table1.parquet")
    assert list(dict.fromkeys(rows["trial_id"])) == [trial.id for trial in sweep.trials("embedded")]


def test_what_changes_is_told(repository: Any, sweep: Sweep, fill: Fill) -> None:
    rows = rows_of(fill(), sweep)
    each, dense = len(rows), rows.loc[rows["phase"] == "dense", "top1"].item()
    first = repository.git("rev-parse", "HEAD")
    bench.prepare_publication(sweep, results=repository.runs).write()
    repository.commit()
    assert bench.prepare_publication(sweep, results=repository.runs).changes[1:] == (
        f"rows: 0 added, 0 removed, 0 with another top-1, {4 * each} with the same",
    ), "an earlier commit, since when results alone changed"
    stale = repository.root / "results/embedded/table1_nm.png"
    other = repository.root / "results/embedded/table1_of_mine.png"
    for path in (stale, other):
        path.touch()
    few = sweep.model_copy(update={"profiles": {"embedded": sweep.trials("embedded")[:2]}})
    fill(1, top1=12.5, commit=first)
    found = bench.prepare_publication(few, results=repository.runs)
    assert found.changes[1] == f"rows: 0 added, {2 * each} removed, {each} with another top-1, {each} with the same"
    assert found.changes[2].startswith(f"largest change of top-1: {dense:g} to 12.5, vit ")
    found.write()
    assert not stale.exists(), "a figure that there is no longer"
    assert other.exists()


def test_a_partial_sweep_is_refused(repository: Any, sweep: Sweep, fill: Fill) -> None:
    with pytest.raises(UserError, match=r"table1 \(embedded\): (\d+) of \1 trials are not done \(\1 to run\)"):
        bench.prepare_publication("table1", results=repository.runs)
    fill()
    fill(1, status="failed", error="boom")
    store = fill(0)
    store.path(sweep.trials("embedded")[3].id).unlink()
    with pytest.raises(UserError, match=r"2 of 4 trials are not done \(1 failed, 1 to run\)"):
        bench.prepare_publication(sweep, results=repository.runs)
    fill(violations=3)
    with pytest.raises(UserError, match="4 trials break their pattern"):
        bench.prepare_publication(sweep, results=repository.runs)


def test_rows_of_other_code_are_refused(repository: Any, sweep: Sweep, fill: Fill) -> None:
    def refusal() -> str:
        with pytest.raises(UserError) as refused:
            bench.prepare_publication(sweep, results=repository.runs)
        return str(refused.value)

    first = repository.git("rev-parse", "HEAD")
    fill(dirty=True)
    assert refusal().startswith("rows of code that was not committed: remove ")
    fill()
    fill(1, commit="c0ffee" * 6)
    assert "rows of 2 commits (" in refusal()
    fill(commit="c0ffee" * 6)
    assert f"rows of commit c0ffeec0ffee, on which the checkout's {first[:12]} is not based" in refusal()
    fill()
    (repository.root / "docs/file.py").write_text("1\n")
    (repository.root / "cap/new.py").touch()
    assert refusal().startswith("the checkout is not clean (cap/new.py): commit or undo that")
    repository.commit()
    assert f"rows of commit {first[:12]}, since when code changed (cap/new.py)" in refusal()


def test_other_places_are_refused(repository: Any, fill: Fill) -> None:
    with pytest.raises(UserError, match=r"cannot publish 'mine\.py', which is not of this checkout: choose from abl"):
        bench.prepare_publication("mine.py", results=repository.runs)
    with pytest.raises(UserError, match="has the published results, which `capbench publish` alone changes"):
        bench.prepare_publication("table1", results=repository.root / "results")


def test_outside_a_checkout_nothing_is_published(repository: Any, sweep: Sweep, fill: Fill) -> None:
    fill()
    (repository.root / ".git").rename(repository.root / "no_git")
    with pytest.raises(UserError, match="checkout is no git checkout: results are published in one"):
        bench.prepare_publication(sweep, results=repository.runs)


def test_an_installed_package_publishes_nothing(repository: Any) -> None:
    (repository.root / "pyproject.toml").unlink()
    with pytest.raises(UserError, match="published in a checkout of the repository; this is an installed package"):
        bench.prepare_publication("table1", results=repository.runs)


def test_published_rows_are_drawn_anew_by_later_code(repository: Any, sweep: Sweep, fill: Fill) -> None:
    with pytest.raises(UserError, match=r"table1 \(embedded\): nothing is published that could be drawn anew"):
        bench.prepare_publication(sweep, redraw=True)
    fill()
    bench.prepare_publication(sweep, results=repository.runs).write()
    (repository.root / "bench" / "file.py").write_text("changed = True")
    repository.commit()
    before = repository.files()
    table = repository.root / "results/embedded/table1.md"
    table.write_text("of older code")
    with pytest.raises(UserError, match="since when code changed"):
        bench.prepare_publication(sweep, results=repository.runs)
    found = bench.prepare_publication(sweep, results=repository.runs, redraw=True)
    assert found.changes == ("table1 (embedded): tables and figures anew, of the published rows as they are",)
    found.write()
    assert repository.files() == before
    with pytest.raises(UserError, match="speedup cannot be drawn anew"):
        bench.prepare_publication("speedup", redraw=True)
