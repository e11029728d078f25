"""What the command line prints at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.console import say_written


def test_files_that_differ_in_their_suffix_take_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/embedded")
    say_written(folder / name for name in ("compare/Mine-1a2b3c4d.md", "compare/Mine-1a2b3c4d.csv", "table1_loss.png"))
    assert capsys.readouterr().out == (
        "written: runs/embedded/compare/Mine-1a2b3c4d.{md,csv}\nwritten: runs/embedded/table1_loss.png\n"
    )
