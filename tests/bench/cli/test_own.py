"""`capbench` with a model and data of the user's own, end to end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import cli
from cap.batch_norm import reestimate_batch_norm

MINE = """
import cap

class Mine(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items()}
"""
PROFILE = """
from bench import own_model, own_profile

DATA = "imagefolder:photos"
NET = own_model("timm:test_resnet", DATA, name="net", weights="net.safetensors", layers=["fc.*"], family="cnn",
                transform={"input_size": 32})
PROFILE = own_profile(DATA, {"net": NET})
"""
SWEEP = """
from bench import Sweep, get_profile, grid

NAME = "my_profile.py:PROFILE"
PROFILE = get_profile(NAME)
TRIALS = grid(sweep="mine", profile=NAME, model="net", pruner=["magnitude", "random"], seed=0, patterns=("0.5",),
              finetune=PROFILE.recipes.finetune, finetune_at=("0.5",), calibration=PROFILE.calibration)
SWEEP = Sweep(name="mine", title="Mine", profiles={NAME: TRIALS})
"""
OWN = ("--model", "timm:test_resnet", "--weights", "net.safetensors", "--data", "imagefolder:photos",
       "--transform", "input_size=32")  # fmt: skip
COMPARE = ("compare", "--pruner", "mine.py:Mine", "--against", "magnitude", "--sparsity", "0.5", "--no-check")


@pytest.fixture
def here(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with a pruner, a profile and a sweep, where commands are called."""
    shutil.copytree(own_folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    for name, text in {"mine.py": MINE, "my_profile.py": PROFILE, "my_sweep.py": SWEEP}.items():
        Path(name).write_text(text)
    return tmp_path / "here"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_compare(jobs: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*COMPARE, *OWN, "--seeds", "0", "1", "--jobs", jobs]
    cli.main(command)
    out = capsys.readouterr().out
    assert "prunes 14 weights: conv1.3.weight" in out
    assert "imagefolder:photos: 3 classes; images for calibration 12, tuning 6, validation 3, test 9" in out
    assert "4 trials, 0 done, 4 to run" in out
    [table] = here.glob("runs/imagefolder-photos-*/compare/Mine-*[0-9a-f].parquet")
    rows = pd.read_parquet(table)
    assert set(rows["status"]) == {"done"}
    assert set(rows["n_images"]) == {9}
    assert set(rows["calibration_images"]) == {12}
    assert (rows[rows["pattern"] == "0.5"]["sparsity_prunable"] - 0.5).abs().max() < 1e-4
    cli.main(command)
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out


def test_diagnose(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that nobody trained are told as such, and the rest is looked at all the same."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["diagnose", *OWN, "--pruner", "obc", "--images", "9"])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    [failure] = [line for line in lines if line.startswith("FAILURE")]
    assert "these are not the weights of this model and data" in failure
    assert any("BatchNorm layers have the statistics of no training" in line for line in lines)
    assert any("obc plans no memory: second moments of layers' inputs take up to " in line for line in lines)
    assert lines[-1].startswith("timm:test_resnet"), "a line on the whole"


def test_statistics_estimated_anew_are_those_of_all(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> None:
        time.sleep(0.5)
        reestimate_batch_norm(*arguments)

    monkeypatch.setattr("bench.trials.context.reestimate_batch_norm", slow)
    command = [*COMPARE, *OWN, "--seeds", "0", "--jobs", "1"]
    cli.main(command)
    cli.main([*command, "--batch-norm", "reestimated"])
    assert "batch normalisation estimated anew" in capsys.readouterr().out
    tables = [pd.read_parquet(path) for path in here.glob("runs/imagefolder-photos-*/compare/Mine-*[0-9a-f].parquet")]
    kept, again = sorted(tables, key=lambda rows: rows["batch_norm"].dropna().iloc[0])
    assert (set(kept["batch_norm"].dropna()), set(again["batch_norm"].dropna())) == ({"kept"}, {"reestimated"})
    pruned = [rows[rows["pattern"] == "0.5"] for rows in (kept, again)]
    assert pruned[0]["sparsity_prunable"].tolist() == pruned[1]["sparsity_prunable"].tolist()
    assert (pruned[1]["prune_seconds"] > 0.5).all(), "it is counted"


def test_a_sweep_of_a_profile_in_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = ["--profile", "my_profile.py:PROFILE"]
    cli.main(["plan", "my_sweep.py", *profile])
    assert "2 to run" in capsys.readouterr().out
    cli.main(["run", "my_sweep.py", *profile, "--jobs", "1"])
    assert "net prunes 1 weight: fc.weight" in capsys.readouterr().out
    cli.main(["table", "my_sweep.py", *profile])
    assert "net: dense" in capsys.readouterr().out
    cli.main(["run", "my_sweep.py", *profile, "--only", "family=cnn", "--jobs", "1"])
    assert "2 trials, 2 done, 0 to run" in capsys.readouterr().out
    [trial, *_] = sorted(path.stem for path in here.glob("runs/my_profile-py-PROFILE-*/mine/*.parquet"))
    cli.main(["show", trial.partition(".")[0]])
    assert "capbench run mine --only model=net" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--data": "imagefolder:nowhere"}, "imagefolder:nowhere: there is no such folder"),
        ({"--data": "imagefolder:one"}, "imagefolder:one has one class alone, cat"),
        ({"--data": "imagefolder:broken"}, "broken/dog/3.png cannot be decoded"),
        ({"--data": "imagefolder:overlap"}, "are the same image: splits must not overlap"),
        ({"--data": "photos"}, "data of your own are imagefolder:FOLDER"),
        ({"--weights": "five.safetensors"}, "have a head of 5 classes, but the data have 3"),
        ({"--weights": "vit.safetensors"}, "weights vit.safetensors are not those of timm:test_resnet"),
        ({"--weights": "none.safetensors"}, "none.safetensors cannot be read"),
        ({"--model": "timm:resnett18"}, "timm has no model 'resnett18'"),
        ({"--model": "vit"}, "give timm:NAME, or my_model.py:FUNCTION"),
        ({"--profile": "imagenet"}, "--data imagefolder:photos stands in place of --profile imagenet"),
        ({"--layers": "nothing"}, "layer pattern 'nothing' matches no weight"),
        ({"--transform": "colour=red"}, "transform: colour"),
        ({"--data": None}, "are of a model of your own: give --data too"),
        ({"--model": None}, "--weights are of one model, but --model has 0"),
        ({"--model": None, "--weights": None, "--transform": None}, "--data imagefolder:photos needs --model"),
    ],
)
def test_bad_input_is_a_line_before_any_work(
    change: dict[str, str | None], message: str, here: Path, fails: Callable[..., str]
) -> None:
    shutil.copytree("photos/cat", "one/cat")
    shutil.copytree("photos", "broken")
    Path("broken/dog/3.png").write_bytes(Path("photos/dog/3.png").read_bytes()[:900])
    shutil.copytree("photos", "overlap/train")
    shutil.copytree("photos/dog", "overlap/test/dog")
    given = {**dict(zip(OWN[::2], OWN[1::2], strict=True)), **change}
    words = [word for key, value in given.items() if value is not None for word in (key, value)]
    assert message in fails(*COMPARE, *words, "--seeds", "0", "--jobs", "1")
    assert not list(here.glob("runs/**/*.parquet"))


def test_a_sweep_says_what_its_profile_lacks(here: Path, fails: Callable[..., str]) -> None:
    Path("my_profile.py").write_text(PROFILE.replace(":photos", ":nowhere"))
    message = "my_sweep.py: imagefolder:nowhere: there is no such folder"
    assert message in fails("run", "my_sweep.py", "--profile", "my_profile.py:PROFILE")


def test_a_pruned_model_is_exported(here: Path) -> None:
    model = 'timm:test_resnet?weights=net.safetensors&transform={"input_size":32}'
    words = ("--profile", "imagefolder:photos", "--model", model, "--sparsity", "0.5", "--pruner", "magnitude")
    cli.main(["export", "--output", "out", *words])
    readme = Path("out/README.md").read_text()
    code, whole = [line for line in readme.splitlines() if line.startswith("timm.create_model")]
    assert code == 'timm.create_model("test_resnet", num_classes=3, checkpoint_path="model.safetensors")'
    assert whole.startswith('timm.create_model("local-dir:.", pretrained=True)')
