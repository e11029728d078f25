"""The command line, end to end."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import assets, cli
from bench import models as zoo
from bench.results.schema import SCHEMA

TINY = """
from bench.specs.recipes import FinetuneSpec
from bench.specs.sweep import Sweep, grid

SWEEP = Sweep(
    name="tiny",
    title="Tiny",
    profiles={
        "embedded": grid(
            sweep="tiny", profile="embedded", model=["vit"], seed=[0],
            pruner=[
                {"pruner": "magnitude"},
                {"pruner": "cap", "pruner_options": {"block_size": 32, "num_gradients": 64}},
            ],
            patterns=("0.75",), finetune_at=("0.75",), calibration={"images": 64},
            finetune=FinetuneSpec(epochs=1, images=64, batch_size=32, lr=1e-4, lr_end=1e-5),
        )
    },
)
"""


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a command that must fail as a user's mistake, and returns its one line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(arguments))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    return error


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The tiny sweep, run: its file and its results folder."""
    folder = tmp_path_factory.mktemp("tiny")
    sweep, results = folder / "tiny.py", folder / "results"
    sweep.write_text(TINY)
    cli.main(["run", str(sweep), "--results", str(results), "--jobs", "2"])
    return str(sweep), str(results)


def test_rows(finished: tuple[str, str]) -> None:
    rows = pd.read_parquet(Path(finished[1]) / "embedded/tiny.parquet")
    assert list(rows.columns) == SCHEMA.names
    assert rows[["pruner", "phase"]].values.tolist() == [
        [pruner, phase] for pruner in ("magnitude", "cap") for phase in ("dense", "one_shot", "finetuned")
    ]
    pruned = rows[rows["phase"] != "dense"]
    assert (rows["status"] == "done").all()
    assert pruned["sparsity_prunable"].tolist() == [0.75] * 4
    assert (pruned["params_nonzero"] < 0.3 * pruned["params_dense"]).all()
    assert (pruned["macs_sparse"] < 0.4 * pruned["macs_dense"]).all()
    assert (rows["n_images"] == 10_000).all()
    assert rows["top1_drop"].tolist() == pytest.approx((rows["top1_dense"] - rows["top1"]).tolist())
    assert rows["trial_id"].nunique() == 2
    assert (pruned["fit_seconds"] > 0).all()
    assert pruned["finetune_seconds"].notna().tolist() == [False, True] * 2
    assert rows["commit"].notna().all()
    one_shot = pruned[pruned["phase"] == "one_shot"].set_index("pruner")["top1"]
    assert one_shot["cap"] > one_shot["magnitude"]
    layers = pq.read_table(Path(finished[1]) / "embedded/tiny.layers.parquet").to_pandas()
    assert set(layers["weights"]) == {64 * 64, 3 * 64 * 64, 4 * 64 * 64}
    assert len(layers) == 6 * 16
    sums = layers.groupby(["trial_id", "phase"])["zeros"].sum()
    assert set(sums) == {0, round(0.75 * 16 * 12288)}


def test_what_is_done_is_not_run_again(finished, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, results = finished
    before = {path: path.stat().st_mtime_ns for path in Path(results).glob("embedded/tiny/*")}
    cli.main(["run", sweep, "--results", results])
    assert "2 trials, 2 done, 0 to run" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path(results).glob("embedded/tiny/*")}
    cli.main(["status", sweep, "--results", results])
    assert "2 done" in capsys.readouterr().out


def test_interrupted_and_picked_up_again(tmp_path: Path) -> None:
    """Ctrl-C, as a terminal sends it: to the command and its workers."""
    sweep, results = tmp_path / "tiny.py", tmp_path / "results"
    sweep.write_text(TINY.replace("seed=[0]", "seed=[0, 1]"))
    command = [sys.executable, "-m", "bench", "run", str(sweep), "--results", str(results), "--jobs", "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's tests ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list(results.glob("embedded/tiny/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "run again to go on" in error
    assert "Traceback" not in error
    done = {path.name: path.stat().st_mtime_ns for path in results.glob("embedded/tiny/*[!s].parquet")}
    assert not list(results.glob("embedded/tiny/.*")), "nothing half written is left"
    subprocess.run(command, check=True, timeout=240)
    rows = pd.read_parquet(results / "embedded/tiny.parquet")
    assert rows["trial_id"].nunique() == 4
    after = {path.name: path.stat().st_mtime_ns for path in results.glob("embedded/tiny/*.parquet")}
    assert done.items() <= after.items(), "what was done is kept"


def test_table_and_plot(finished, capsys: pytest.CaptureFixture[str]) -> None:
    results = Path(finished[1])
    (results / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    cli.main(["table", "tiny", "--results", str(results)])
    cli.main(["plot", "tiny", "--results", str(results)])
    out = capsys.readouterr().out
    assert "C1" in out
    assert "C2" in out
    assert {path.name for path in (results / "embedded").iterdir() if path.is_file()} == {
        "tiny.parquet", "tiny.layers.parquet", "tiny.md", "tiny.csv", "tiny.png", "tiny.svg",
        "tiny_loss.png", "tiny_loss.svg",
    }  # fmt: skip


def test_a_failing_pruner_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text(
        "import cap\nclass Broken(cap.Pruner):\n    def scores(self, model, layers, calibration):\n"
        "        raise ZeroDivisionError('half way')\n"
    )
    text = TINY.replace('{"pruner": "cap"', f'{{"pruner": "{tmp_path}/broken.py:Broken"}}, {{"pruner": "cap"')
    (tmp_path / "tiny.py").write_text(text)
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(tmp_path / "tiny.py"), "--results", str(results), "--jobs", "1"])
    assert stopped.value.code == 1
    assert "ZeroDivisionError: half way" in capsys.readouterr().err
    rows = pd.read_parquet(results / "embedded/tiny.parquet")
    assert rows["status"].value_counts().to_dict() == {"done": 7, "failed": 1}, "its dense row is kept"
    [log] = (results / "embedded/tiny").glob("*.log")
    assert "half way" in log.read_text()
    cli.main(["status", str(tmp_path / "tiny.py"), "--results", str(results)])
    assert "2 done, 1 failed" in capsys.readouterr().out
    cli.main(["run", str(tmp_path / "tiny.py"), "--results", str(results), "--dry-run"])
    assert "3 trials, 2 done, 1 to run" in capsys.readouterr().out


def test_mistakes_give_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, message in [
        (["run", "tabel1"], "unknown sweep 'tabel1': choose from ablation, fastcap"),
        (["run", "table1", "--only", "model=resnet"], "choose from convnext, dino, vit, xcit"),
        (["run", "table1", "--only", "pruner=obs"], "choose from cap, magnitude, woodfisher"),
        (["run", "table1", "--only", "vit"], "write key=value"),
        (["run", "table1", "--seeds", "0", "9"], "no seed 9: choose from 0, 1, 2"),
        (["run", "table1", "--seeds", "x"], "--seeds"),
        (["run", "table1", "--profile", "laptop"], "no profile 'laptop'"),
        (["run", "table1", "--jobs", "0"], "--jobs 0"),
        (["run", "table1", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["run", "table1", "--only", "model=vit", "--only", "family=dino"], "no trial matches model=vit family=dino"),
        (["run", "table1", "--colour"], "--colour"),
        (["table", "table1", "--results", str(tmp_path)], "does not exist: run the sweep first"),
        (["table", "tabel1", "--results", str(tmp_path)], "unknown sweep 'tabel1'"),
        (["plot", "tabel1", "--results", str(tmp_path)], "choose from ablation"),
        (["compare"], "--pruner"),
        (["compare", "--pruner", "cap", "--option", "damp"], "cannot read option 'damp': write key=value"),
        (["compare", "--pruner", "cap", "--option", "damp=1", "damp=2"], "option damp is given twice"),
        (["compare", "--pruner", "wanda"], "supports no pattern of --sparsity"),
        (["compare", "--pruner", "mfac", "--seeds", "0", "0"], "--seeds has 0 twice"),
        (["compare", "--pruner", "mfac", "--jobs", "0"], "--jobs 0"),
        (["compare", "--pruner", "mfac", "--dry-run", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["list", "cats"], "pruners"),
    ]:
        assert message in fails(capsys, *arguments)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"pruner": "cap"', '"pruner": "capp"', "unknown pruner 'capp': choose from cap"),
        ('"block_size": 32', '"blocksize": 32', "its options are block_size"),
        ('("0.75",), f', '("1.75",), f', "sparsity 1.75 is out of range"),
        ('model=["vit"]', 'model=["vti"]', "unknown model 'vti' in profile 'embedded': choose from"),
        ("import FinetuneSpec", "import Finetune", "Finetune"),
        ('"num_gradients": 64', '"num_gradients": -1', "num_gradients=-1 is not valid"),
        ("SWEEP = Sweep(", "SWEEP = 3 or Sweep(", "is no bench.Sweep but a int"),
        ("SWEEP = Sweep(", "SWEPT = Sweep(", "defines no SWEEP"),
    ],
)
def test_mistakes_in_a_sweep_file(capsys, tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "tiny.py").write_text(TINY.replace(old, new))
    assert message in fails(capsys, "run", str(tmp_path / "tiny.py"), "--results", str(tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_a_pattern_that_matches_no_layer(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vit = zoo.EMBEDDED["vit"].model_copy(update={"prunable": (".*conv.*",)})
    monkeypatch.setitem(zoo.EMBEDDED, "vit", vit)
    error = fails(capsys, "run", "table1", "--only", "model=vit", "--results", str(tmp_path))
    assert "model vit: layer pattern '.*conv.*' matches no weight" in error


@pytest.mark.parametrize(
    ("end", "message"), [("os.kill(os.getpid(), 9)", "its process was killed"), ("sys.exit(3)", "SystemExit: 3")]
)
def test_a_trial_that_ends_its_worker_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str, message: str
) -> None:
    (tmp_path / "ends.py").write_text(
        "import os, sys, cap\nclass Ends(cap.Pruner):\n    def scores(self, model, layers, calibration):\n"
        f"        {end}\n"
    )
    text = TINY.replace('{"pruner": "magnitude"}', f'{{"pruner": "{tmp_path}/ends.py:Ends"}}')
    (tmp_path / "tiny.py").write_text(text.replace("seed=[0]", "seed=[0, 1]"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(tmp_path / "tiny.py"), "--results", str(tmp_path), "--jobs", "2"])
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err
    rows = pd.read_parquet(tmp_path / "embedded/tiny.parquet")
    assert set(rows["pruner"]) == {"cap"}
    assert set(rows["seed"]) == {0, 1}
    assert (rows["status"] == "done").all()


def test_memory_is_planned_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    sweep = ("run", str(tmp_path / "tiny.py"), "--results", str(tmp_path))
    error = fails(capsys, *sweep, "--memory-gb", "0.01")
    assert "vit cap: a memory budget of 0.01 GiB is too small" in error
    assert "Raise the memory budget" in error
    assert not list(tmp_path.glob("embedded/tiny/*.parquet"))
    assert "--memory-gb -1.0 is not valid" in fails(capsys, *sweep, "--memory-gb=-1")


def test_results_of_another_schema(capsys, finished, tmp_path: Path) -> None:
    results = tmp_path / "embedded"
    results.mkdir()
    pd.DataFrame({"accuracy": [1.0]}).to_parquet(results / "tiny.parquet")
    assert "another schema" in fails(capsys, "table", "tiny", "--results", str(tmp_path))


def test_damaged_weights_are_found_before_work(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    copy = tmp_path / "embedded"
    shutil.copytree(assets.ASSETS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    content = bytearray((copy / "zoo/vit.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "zoo/vit.safetensors").write_bytes(content)
    monkeypatch.setattr(assets, "ASSETS", copy)
    assets.verified.cache_clear()
    error = fails(capsys, "run", "table1", "--only", "model=vit", "--results", str(tmp_path / "results"))
    monkeypatch.undo()
    assets.verified.cache_clear()
    assert "vit.safetensors is damaged" in error


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for what, expected in (("pruners", "block_size=192"), ("models", "xcit_small_12_p8_224"), ("sweeps", "36 trials")):
        cli.main(["list", what])
        assert expected in capsys.readouterr().out


MINE = """
import cap
class Mine(cap.Pruner):
    def __init__(self, power=1.0):
        if isinstance(power, bool):
            raise ValueError(f"power={power} is not valid")
        self.power = power
    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}
class Broken(Mine):
    def update(self, masks):
        raise IndexError("nothing\\nhere")
"""


def test_check_of_a_sound_pruner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    cli.main(["check", f"{tmp_path}/mine.py:Mine", "--option", "power=0.5"])
    lines = capsys.readouterr().out.splitlines()
    assert "passed   scores" in lines
    assert [line for line in lines if line.startswith("skipped  docstring (Mine has none")]
    passed = sum(line.startswith("passed") for line in lines)
    assert lines[-1] == f"{tmp_path}/mine.py:Mine: {passed} passed, 0 failed, 1 skipped"
    cli.main(["check", "sparsegpt", "--option", "block_size=4", "damp=0.1"])
    out = capsys.readouterr().out
    assert "skipped  monotone masks (the class says monotone = False)" in out
    assert "passed   pattern 0.5@blocks4 (refused: SparseGPT removes single weights" in out


def test_check_tells_what_is_broken_and_how_to_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "mine.py:Broken"])
    assert stopped.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(
        f"FAILED   pruned weights: IndexError: nothing (mine.py:{1 + MINE.split('IndexError')[0].count(chr(10))})"
    )
    assert lines[at + 1].startswith("         `prune` returns weights and masks for exactly the layers")
    assert lines[-1].endswith(f": 2 passed, 1 failed, {sum(line.startswith('skipped') for line in lines)} skipped")


def test_mistakes_in_what_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("wrong.py").write_text("import cap\nclass Mine(cap.Pruner)\n    pass\n")
    for arguments, message in [
        (["capp"], "unknown pruner 'capp': choose from cap, "),
        (["other.py:Mine"], "pruner file other.py does not exist"),
        (["mine.py:Yours"], "mine.py has no pruner class 'Yours'; it has Mine, Broken"),
        (["wrong.py:Mine"], "wrong.py:Mine: SyntaxError: expected ':'"),
        (["mine.py:Mine", "--option", "strength=2"], "has no option strength: its options are power=1.0"),
        (["mine.py:Mine", "--option", "power=true"], "power=True is not valid"),
        (["mine.py:Mine", "--option", "power"], "cannot read option 'power': write key=value"),
        (["mine.py:Mine", "--option", "power=1", "power=2"], "option power is given twice"),
    ]:
        assert message in fails(capsys, "check", *arguments)


def test_option_values_are_json_or_text() -> None:
    texts = ("a=1", "b=2.5e-3", "c=true", "d=null", "e=[1, 2]", 'f="1"', "g=mean", "h=x=y", "i=")
    expected = {"a": 1, "b": 0.0025, "c": True, "d": None, "e": [1, 2], "f": "1", "g": "mean", "h": "x=y", "i": ""}
    assert cli._options(texts) == expected


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    assert capsys.readouterr().out.strip() == importlib.metadata.version("cap-bench")


def test_the_installed_command_exits_with_2() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "run", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
