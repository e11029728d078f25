"""`capbench compare`, end to end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench import cli

MINE = """
import cap

class Mine(cap.ScorePruner):
    def __init__(self, power: float = 1.0, block_size: int = 7) -> None:
        self.power = power

    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}
"""


def test_a_pruner_from_outside_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, results = tmp_path / "mine.py", tmp_path / "results"
    mine.write_text(MINE)
    command = ["compare", "--pruner", f"{mine}:Mine", "--option", "power=-1", "--against", "magnitude", "--model",
               "vit", "--sparsity", "0.5", "--seeds", "0", "1", "--results", str(results), "--jobs", "1"]  # fmt: skip
    cli.main(command)
    out = capsys.readouterr().out
    assert "4 trials, 0 done, 4 to run" in out
    assert "Mine against GM: better in 0 of 1 cells, worse in 0, no difference shown in 0, the same difference" in out
    folder = results / "embedded/compare"
    [report] = folder.glob("Mine-*.md")
    assert {path.suffix for path in folder.glob("Mine-*")} == {".md", ".csv", ".png", ".svg", ".parquet"}
    assert not list((results / "embedded").glob("*.parquet")), "no sweep's results are touched"
    cells = pd.read_csv(report.with_suffix(".csv"))
    assert cells["label"].tolist() == ["Mine", "GM"]
    assert cells["n"].tolist() == [2, 2]
    assert cells["top1_mean"].tolist()[1] == pytest.approx(88.31, abs=0.1), "as in Table 1"
    assert cells.loc[1, "low"] == pytest.approx(cells.loc[1, "high"]), "neither depends on the seed"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert sum(path.suffix == ".parquet" for path in before) == 2 * 4, "of each trial its row and its layers' rows"

    cli.main(command)
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert after == before

    mine.write_text(f"{MINE}\n# changed")
    cli.main([*command, "--dry-run"])
    out = capsys.readouterr().out
    assert "4 trials, 2 done, 2 to run" in out
    assert "magnitude seed" not in out
