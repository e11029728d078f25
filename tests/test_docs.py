"""The documents say what is so: their code runs, their numbers are the committed results', their links lead on."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench import benchmarks, tables
from bench.verdicts import verdicts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_starts_with_the_two_commands() -> None:
    first_screen = README.splitlines()[:20]
    assert any("nox -s reproduce_table1" in line for line in first_screen)
    assert any("nox -s tests" in line for line in first_screen)


@pytest.mark.parametrize("document", ["README.md", "docs/deviations.md", "docs/add_a_pruner.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    """Table 1 as committed: a user's own run replaces the file in the work tree."""
    command = ["git", "show", "HEAD:results/embedded/table1.parquet"]
    return pd.read_parquet(io.BytesIO(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout))


def test_the_readme_table_is_the_committed_result(committed: pd.DataFrame) -> None:
    assert tables.to_markdown(tables.compact(tables.summarise(committed))) in README
    said = verdicts(committed)
    assert [verdict[:2] for verdict in said] == ["C1", "C2"]
    assert all(verdict in README for verdict in said)


def test_the_committed_result_is_whole(committed: pd.DataFrame) -> None:
    rows = committed
    assert (rows["status"] == "done").all()
    assert rows.groupby(["model", "pruner", "phase"])["seed"].nunique().eq(3).all()
    assert len(rows) == 4 * 3 * 3 * (1 + 6 + 3)
    assert rows["commit"].nunique() == 1
    assert not rows["dirty"].any()


def test_the_readme_shows_the_committed_benchmarks(tmp_path: Path) -> None:
    """The table is the one that the committed measurements give, and these are of committed code."""
    command = ["git", "show", "HEAD:results/benchmarks/core.json"]
    (tmp_path / "core.json").write_bytes(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    rows, about = benchmarks.read(tmp_path / "core.json")
    assert not about["dirty"]
    assert tables.to_markdown(benchmarks.compact(rows)) in README
    assert benchmarks.origin(about) in README
    assert benchmarks.markdown(rows, about) == (ROOT / "results/benchmarks/core.md").read_text()


def test_adding_a_pruner_as_the_readme_says(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, flags=re.DOTALL))
    for name, code in blocks.items():
        (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "compare.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
    )
    top1 = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}
    assert list(top1) == ["magnitude", "my_pruner.py:Mine", "cap"]
    assert all(10 <= value <= 100 for value in top1.values())


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_imports_run_one_way() -> None:
    for path in (ROOT / "cap").rglob("*.py"):
        assert not imports(path) & {"bench", "sweeps", "tests", "timm", "submitit"}, path
    for path in (ROOT / "bench").rglob("*.py"):
        assert not imports(path) & {"sweeps", "tests"}, path
