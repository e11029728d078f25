"""`capbench compare`, end to end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench import cli

ROOT = Path(__file__).parents[3]
MINE = """
import cap

class Mine(cap.ScorePruner):
    def __init__(self, power: float = 1.0, block_size: int = 7) -> None:
        self.power = power

    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}
"""


def test_a_pruner_from_outside_the_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], page_text: Callable[[Path], str]
) -> None:
    mine, results = tmp_path / "mine.py", tmp_path / "results"
    mine.write_text(MINE)
    command = ["compare", "--pruner", f"{mine}:Mine", "--option", "power=-1", "--against", "magnitude", "--model",
               "vit", "--sparsity", "0.5", "--seeds", "0", "1", "--results", str(results), "--jobs", "1"]  # fmt: skip
    cli.main(command)
    out = capsys.readouterr().out
    assert "4 trials, 0 done, 4 to run" in out
    assert "Mine against GM: better in 0 of 1 cells, worse in 1, no difference shown in 0; mean difference" in out
    folder = results / "embedded/compare"
    [report] = folder.glob("Mine-*.md")
    assert {path.suffix for path in folder.glob("Mine-*")} == {".md", ".csv", ".json", ".png", ".svg", ".parquet"}
    assert not list((results / "embedded").glob("*.parquet")), "no sweep's results are touched"
    cells = pd.read_csv(report.with_suffix(".csv"))
    assert cells["label"].tolist() == ["Mine", "GM"]
    assert cells["n"].tolist() == [2, 2]
    table1 = pd.read_parquet(ROOT / "results/embedded/table1.parquet")
    same = table1[(table1["model"] == "vit") & (table1["pruner"] == "magnitude") & (table1["sparsity_target"] == 0.5)]
    same = same[(same["phase"] == "one_shot") & same["dense_seed"].isin([0, 1])]
    assert cells["top1_mean"].tolist()[1] == pytest.approx(same["top1"].mean(), abs=0.1), "as in Table 1"
    assert cells["top1_dense"].tolist()[1] == pytest.approx(same["top1_dense"].mean(), abs=0.1)
    assert cells.loc[1, "low"] < cells.loc[1, "difference"] < cells.loc[1, "high"], "of other test images"
    cli.main(["report", "--compare", report.stem, "--results", str(results)])
    assert "class Mine(cap.ScorePruner)" in page_text(report.with_suffix(".html"))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert sum(path.suffix == ".parquet" for path in before) == 3 * 4, "of each trial rows, layers, predictions"

    cli.main(command)
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert after == before

    mine.write_text(f"{MINE}\n# changed")
    cli.main([*command, "--dry-run"])
    out = capsys.readouterr().out
    assert "4 trials, 2 done, 2 to run" in out
    assert "magnitude seed" not in out


CHEATS = """
import os
import signal

import torch

import cap

class Keeps(cap.ScorePruner):
    \"\"\"Magnitude that keeps every weight.\"\"\"

    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items()}

    def weights_at(self, pattern):
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        return cap.PrunedWeights(dict(self.weights), masks)

class Dies(Keeps):
    def scores(self, model, layers, calibration):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cheats(tmp_path: Path) -> list[str]:
    """A comparison of one of the cheats, in one cell: all but its class."""
    (tmp_path / "cheats.py").write_text(CHEATS)
    return ["compare", "--against", "magnitude", "--model", "vit", "--seeds", "0", "--jobs", "1", "--results",
            str(tmp_path / "results"), "--sparsity"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"), [("Keeps", "exact count: at 0.1 0 weights of all layers"), ("Dies", "its process ended")]
)
def test_a_pruner_that_breaks_the_contract_does_not_run(
    cheats: list[str], name: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*cheats, "0.5", "--pruner", f"{tmp_path}/cheats.py:{name}"])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert f"breaks the contract: {name}: {found}" in error
    assert f"`capbench check {tmp_path}/cheats.py:{name}` says more" in error
    assert not list(tmp_path.glob("results/**/*.parquet"))


def test_an_invalid_pruner_is_shown_and_never_ranked(
    cheats: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--pruner", f"{tmp_path}/cheats.py:Keeps", "--no-check"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*cheats, "0.5", "0.75", *command, "--json", "-"])
    assert stopped.value.code == 1
    out, error = capsys.readouterr()
    wrong = "keeps 100 % of the weights where 50 % were wanted: 0 zeros, wants 98,304"
    assert f"invalid, not ranked: 2 of 2 rows of {tmp_path}/cheats.py:Keeps: vit 0.5 one-shot seed 0 {wrong}" in error
    report = json.loads(out)
    assert [cell["status"] for cell in report["cells"]] == ["invalid", "done"] * 2
    assert [cell["top1_mean"] is None for cell in report["cells"]] == [True, False] * 2
    assert {one["verdict"] for one in report["differences"]} == {"not compared"}
    assert report["verdicts"] == ["Keeps against GM: not compared, Keeps invalid 0.5; Keeps invalid 0.75."]
    assert report["invalid"][0]["error"] == wrong
    assert report["pruners"][0]["code"] == CHEATS
    assert report["pruners"][0]["sha256"] == hashlib.sha256(CHEATS.encode()).hexdigest()
    assert report["pruners"][1]["source"] == "cap.pruners.magnitude.Magnitude"
    [text] = [path.read_text() for path in tmp_path.glob("results/embedded/compare/*.md")]
    assert CHEATS.strip() in text

    with pytest.raises(SystemExit):
        cli.main([*cheats, "0.75", *command])
    assert "2 trials, 2 done, 0 to run" in capsys.readouterr().out, "rows are reused pattern by pattern"
    [later] = [path for path in tmp_path.glob("results/embedded/compare/*.csv") if "0.5" not in path.read_text()]
    assert pd.read_csv(later)["status"].tolist() == ["invalid", "done"]


def test_a_document_that_cannot_be_written(cheats: list[str], tmp_path: Path, fails: Callable[..., str]) -> None:
    for place in (str(tmp_path), f"{tmp_path}/none/report.json", "--dry-run"):
        assert "cannot be written: give a file" in fails(*cheats, "0.5", "--pruner", "cap", "--json", place)
