"""Provenance in a checkout of its own: a copy of this module in a tiny repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import provenance


def commit_all(root: Path) -> None:
    """Makes a folder a repository with one commit."""
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], check=True)


def printed(module: Path, function: str) -> str:
    """Returns what a function of a copy of the module returns, as text."""
    command = [sys.executable, "-c", f"import provenance; print(provenance.{function}())"]
    return subprocess.run(command, cwd=module.parent, env={"PYTHONPATH": ""}, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("cap/pruner.py", True),
        ("bench/core/provenance.py", True),
        ("results/x.md", False),
        ("submissions/x/obd.py", False),
    ],
)
def test_a_change_anywhere_but_in_results_makes_it_dirty(tmp_path: Path, changed: str, expected: bool) -> None:
    for name in ("cap/pruner.py", "results/x.md", "submissions/x/obd.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    copy = tmp_path / "bench/core/provenance.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, copy)
    commit_all(tmp_path)
    assert printed(copy, "dirty") == "False\n"
    with (tmp_path / changed).open("a") as file:
        file.write("# changed\n")
    assert printed(copy, "dirty") == f"{expected}\n"


def test_an_environment_in_another_repository_has_no_commit(tmp_path: Path) -> None:
    """Its commit is that of the other code."""
    copy = tmp_path / ".venv/lib/bench/core/provenance.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, copy)
    (tmp_path / ".gitignore").write_text(".venv\n")
    commit_all(tmp_path)
    assert printed(copy, "commit") == printed(copy, "dirty") == "None\n"
