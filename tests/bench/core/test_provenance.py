"""Provenance in a checkout of its own: a copy of this module in a tiny repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import provenance


@pytest.mark.parametrize(
    ("changed", "expected"), [("cap/pruner.py", True), ("bench/core/provenance.py", True), ("results/x.md", False)]
)
def test_a_change_anywhere_but_in_results_makes_it_dirty(tmp_path: Path, changed: str, expected: bool) -> None:
    for name in ("cap/pruner.py", "results/x.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    copy = tmp_path / "bench/core/provenance.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, copy)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], check=True)
    code = "import provenance; print(provenance.dirty())"

    def found() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=copy.parent, env={"PYTHONPATH": ""}, capture_output=True, text=True).stdout

    assert found() == "False\n"
    with (tmp_path / changed).open("a") as file:
        file.write("# changed\n")
    assert found() == f"{expected}\n"
