"""`capbench tune` and what is chosen in `capbench compare`, with a user's own pruner, model and data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cli

PAGE = Path(__file__).parents[3] / "docs/tuning.md"
(MINE,) = re.findall(r"```python\n(# mine\.py\n.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def own(own_folder: Path, tmp_path: Path) -> list[str]:
    """Options for the own model, data and folder of results."""
    (tmp_path / "mine.py").write_text(MINE)
    return ["--pruner", f"{tmp_path}/mine.py:Mine", "--data", f"imagefolder:{own_folder / 'photos'}", "--model",
            "timm:test_resnet", "--weights", str(own_folder / "net.safetensors"), "--results",
            str(tmp_path / "runs")]  # fmt: skip


def test_a_users_pruner_is_tuned_and_compared(
    own: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["tune", *own, "--dry-run"])
    assert "4 trials, 0 done, 4 to run" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    cli.main(["tune", *own, "--jobs", "1"])
    out = capsys.readouterr().out
    assert "Mine" in out
    [file] = (tmp_path / "runs").glob("*/tuned.json")
    assert f"written: {file}" in out
    [found] = json.loads(file.read_text())["pruners"]
    assert [one["pruner_options"]["power"] for one in found["tried"][:1]] == [-1.0], "its defaults first"
    assert len(found["tried"]) == 4
    means = [sum(one["top1"].values()) for one in found["tried"]]
    assert found["chosen"] == means.index(max(means))
    cli.main(["tune", "--pruner", "magnitude", *own[2:]])
    assert [one["pruner"] for one in json.loads(file.read_text())["pruners"]] == [own[1], "magnitude"], "beside it"
    cli.main(["tune", *own])
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out

    compare = ["--against", "magnitude", "--sparsity", "0.5", "--seeds", "0", "--jobs", "1"]
    cli.main(["compare", *own, *compare, "--setting", "tuned", "--split", "validation", "--json", "-"])
    report = json.loads(capsys.readouterr().out)
    assert report["title"].endswith("validation, tuned)")
    assert report["pruners"][0]["options"] == found["tried"][found["chosen"]]["pruner_options"]
    assert [cell["status"] for cell in report["cells"]] == ["done", "done"]


def test_mistakes_are_one_line(own: list[str], tmp_path: Path, fails: Callable[..., str]) -> None:
    results = ["--results", str(tmp_path / "runs")]
    assert "capbench: unknown pruner 'capp'" in fails("tune", "--pruner", "capp", *results)
    assert "has no images of 'validation'" in fails(
        "tune", "--profile", "imagenet", "--model", "deit_tiny", "--pruner", "cap", *results
    )
    assert "an inline run has no --partition" in fails("tune", *own, "--partition", "gpu")
    assert "--jobs is for inline runs" in fails("tune", *own, "--cluster", "local", "--jobs", "2")
    wanted = ["--setting", "tuned", "--against", "magnitude", "--no-check"]
    assert "was chosen on timm:test_resnet" in fails("compare", *own, *wanted)
    assert "--setting best is not valid: choose from authors, tuned" in fails("compare", *own, "--setting", "best")
    assert "--split train is not valid" in fails("compare", *own, "--split", "train")
    assert not (tmp_path / "runs").exists()
