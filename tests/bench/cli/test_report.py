"""`capbench table`, `plot` and `report`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench import cli


def test_table_and_plot(finished, capsys: pytest.CaptureFixture[str]) -> None:
    results = Path(finished[1])
    cli.main(["table", "tiny", "--results", str(results)])
    cli.main(["plot", "tiny", "--results", str(results)])
    out = capsys.readouterr().out
    assert "C1" in out
    assert "C2" in out
    assert {path.name for path in (results / "embedded").iterdir() if path.is_file()} == {
        "tiny.parquet", "tiny.layers.parquet", "tiny.predictions.parquet", "tiny.md", "tiny.csv", "tiny.png",
        "tiny.svg", "tiny_loss.png", "tiny_loss.svg",
    }  # fmt: skip


def test_report(
    finished,
    fails: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    page_text: Callable[[Path], str],
) -> None:
    results = Path(finished[1])
    cli.main(["report", "--results", str(results), "--output", str(tmp_path / "page.html")])
    assert "page.html" in capsys.readouterr().out
    text = page_text(tmp_path / "page.html")
    assert "tiny" in text
    assert "table1" not in text  # only what is in this folder
    assert "unknown sweep 'nothing'" in fails("report", "nothing", "--results", str(results))
    assert "has no results" in fails("report", "--results", str(tmp_path))


def test_commands_take_a_file_under_any_name(finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished[1], tmp_path / "results")
    shutil.copy(finished[0], tmp_path / "another_name.py")
    said = {"status": "2 done", "collect": "2 trials", "table": "tiny.{md,csv}", "plot": "tiny.{png,svg}"}
    for command, line in said.items():
        cli.main([command, str(tmp_path / "another_name.py"), "--results", str(tmp_path / "results")])
        assert line in capsys.readouterr().out


def test_results_of_another_schema(fails: Callable[..., str], finished, tmp_path: Path) -> None:
    results = tmp_path / "embedded"
    results.mkdir()
    pd.DataFrame({"accuracy": [1.0]}).to_parquet(results / "tiny.parquet")
    assert "another schema" in fails("table", "tiny", "--results", str(tmp_path))
