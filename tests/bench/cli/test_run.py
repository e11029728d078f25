"""`capbench run`, end to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import assets, cli
from bench.models import MODELS
from bench.results.schema import SCHEMA


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
    assert (rows["n_images"] == 1_000).all()
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


def test_interrupted_and_picked_up_again(tiny: str, tmp_path: Path) -> None:
    """Ctrl-C, as a terminal sends it: to the command and its workers."""
    sweep, results = tmp_path / "tiny.py", tmp_path / "results"
    sweep.write_text(tiny.replace("seed=[0]", "seed=[0, 1]").replace("evaluation_images=1000", "evaluation_images=100"))
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
    cli.main(["run", str(sweep), "--results", str(results), "--jobs", "1"])
    rows = pd.read_parquet(results / "embedded/tiny.parquet")
    assert rows["trial_id"].nunique() == 4
    after = {path.name: path.stat().st_mtime_ns for path in results.glob("embedded/tiny/*.parquet")}
    assert done.items() <= after.items(), "what was done is kept"


def test_a_failing_pruner_stops_no_other(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text(
        "import cap\nclass Broken(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n"
        "        raise ZeroDivisionError('half way')\n"
    )
    text = tiny.replace('{"pruner": "cap"', f'{{"pruner": "{tmp_path}/broken.py:Broken"}}, {{"pruner": "cap"')
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


def test_a_trial_that_ends_its_worker_fails_alone(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ends.py").write_text(
        "import os, sys, cap\nclass Killed(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n"
        "        os.kill(os.getpid(), 9)\n"
        "class Exits(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n        sys.exit(3)\n"
    )
    bad = ", ".join(f'{{"pruner": "{tmp_path}/ends.py:{name}"}}' for name in ("Killed", "Exits"))
    last = '"num_gradients": 64}},'
    again = f'{last}\n                {{"seed": 1, "pruner": "cap", "pruner_options": {{"block_size": 32, {last}'
    text = tiny.replace('{"pruner": "magnitude"}', bad).replace(last, again)
    (tmp_path / "tiny.py").write_text(text.replace("evaluation_images=1000", "evaluation_images=100"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(tmp_path / "tiny.py"), "--results", str(tmp_path), "--jobs", "2"])
    assert stopped.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "Exits seed 0: SystemExit: 3" in line]
    assert "Killed seed 0: its process was killed, perhaps because memory ran out" in lines[-1], (
        "tried again at the end"
    )
    assert len(lines) == 2
    rows = pd.read_parquet(tmp_path / "embedded/tiny.parquet")
    assert set(rows[rows["status"] == "done"]["seed"]) == {0, 1}
    assert rows[rows["status"] != "done"]["error"].tolist() == ["SystemExit: 3"], "who is killed leaves no row"


def test_what_is_skipped_is_told_before_and_after(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tiny.replace('"pruner": "cap", "pruner_options": {"block_size": 32, "num_gradients": 64}', '"pruner": "obc"')
    text = text.replace('finetune_at=("0.75",)', "finetune_at=()").replace("=1000", "=100")
    (tmp_path / "tiny.py").write_text(text.replace('"0.75",', '"0.75", "5:7"'))
    command = ["run", str(tmp_path / "tiny.py"), "--results", str(tmp_path / "results"), "--jobs", "1"]
    table = tmp_path / "results/embedded/tiny.parquet"
    cli.main([*command, "--only", "pruner=magnitude"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model vit skips 5:7: blocks.0.attn.qkv.weight has 64 inputs, which are no multiple of")
    assert lines[1] == "tiny (embedded): 1 trials, 0 done, 1 to run"
    assert lines[-1] == f"skipped 1 of 2 patterns: the column error of {table} says why"
    assert pd.read_parquet(table)["status"].tolist() == ["done", "done", "skipped"]

    cli.main([*command, "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("obc skips 0.75: OBC")
    assert lines[1].startswith("model vit skips 5:7: ")
    assert lines[2] == "tiny (embedded): 2 trials, 1 done, 1 to run"


def test_a_run_in_which_nothing_can_be_pruned_ends_with_1(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tiny.replace('finetune_at=("0.75",)', "finetune_at=()").replace("=1000", "=100")
    (tmp_path / "tiny.py").write_text(text.replace('"0.75",', '"5:7",'))
    command = ["run", str(tmp_path / "tiny.py"), "--results", str(tmp_path / "results"), "--only", "pruner=magnitude"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    assert stopped.value.code == 1
    assert "skipped 1 of 1 patterns: " in capsys.readouterr().out


def test_memory_is_planned_before_work(tiny: str, tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "tiny.py").write_text(tiny)
    sweep = ("run", str(tmp_path / "tiny.py"), "--results", str(tmp_path))
    error = fails(*sweep, "--memory-gb", "0.01")
    assert "vit cap: a memory budget of 0.01 GiB is too small" in error
    assert "Raise the memory budget" in error
    assert not list(tmp_path.glob("embedded/tiny/*.parquet"))
    assert "--memory-gb -1.0 is not valid" in fails(*sweep, "--memory-gb=-1")


def test_damaged_weights_are_found_before_work(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    copy = tmp_path / "embedded"
    shutil.copytree(assets.ASSETS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    content = bytearray((copy / "zoo/vit-0.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "zoo/vit-0.safetensors").write_bytes(content)
    monkeypatch.setattr(assets, "ASSETS", copy)
    assets.verified.cache_clear()
    error = fails("run", "table1", "--only", "model=vit", "--results", str(tmp_path / "results"))
    monkeypatch.undo()
    assets.verified.cache_clear()
    assert "vit-0.safetensors is damaged" in error


def test_a_pattern_that_matches_no_layer(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = MODELS["embedded"]
    vit = models["vit"].model_copy(update={"prunable": (".*conv.*",)})
    monkeypatch.setitem(models, "vit", vit)
    error = fails("run", "table1", "--only", "model=vit", "--results", str(tmp_path))
    assert "model vit: layer pattern '.*conv.*' matches no weight" in error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"pruner": "cap"', '"pruner": "capp"', "unknown pruner 'capp': choose from alps, cap"),
        ('"block_size": 32', '"blocksize": 32', "its options are block_size"),
        ('patterns=("0.75",)', 'patterns=("1.75",)', "sparsity 1.75 is out of range"),
        ('model=["vit"]', 'model=["vti"]', "unknown model 'vti' in profile 'embedded': choose from"),
        ("import FinetuneSpec", "import Finetune", "Finetune"),
        ('"num_gradients": 64', '"num_gradients": -1', "num_gradients=-1 is not valid"),
        ("SWEEP = Sweep(", "SWEEP = 3 or Sweep(", "is no bench.Sweep but a int"),
        ("SWEEP = Sweep(", "SWEPT = Sweep(", "defines no SWEEP"),
        ('patterns=("0.75",)', 'patterns=("0.75", "0.750")', "patterns has 0.75 twice"),
        ('finetune_at=("0.75",)', 'finetune_at=("0.75", "0.750")', "finetune_at has 0.75 twice"),
        ('seed=[0]', 'seed=[10**23]', "seed: Input should be less than or equal to 9223372036854775807"),
        ('("0.75",)', '("0.9999999",)', "model vit at 0.9999999: of its 196,608 weights to prune none is left"),
        ('("0.75",)', '("0.9999999@erk",)', "model vit at 0.9999999@erk: of its 196,608 weights to prune none is"),
        ('("0.75",)', '("0.99999@blocks4",)', "model vit at 0.99999@blocks4: of its 196,608 weights to prune none"),
        ('{"images": 64}', '{"images": 10_000_000}',
         "magnitude seed 0: calibration.images is 10,000,000, but profile embedded has 27,000 images to calibrate on"),
        ('"tiny"', '"table1"', "the name 'table1' is taken: choose another than ablation, "),
        ('"tiny"', '"compare"', "the name 'compare' is taken: choose another than ablation, "),
        ('"tiny"', '"export"', "the name 'export' is taken: choose another than ablation, "),
        ('"tiny"', '"../../evil"', "'../../evil' is no name of a sweep: write letters, digits, _ and -, at most 64"),
        ('"tiny"', '"tiny.layers"', "'tiny.layers' is no name of a sweep: write letters, digits"),
        ('"tiny"', '""', "'' is no name of a sweep: write letters, digits"),
        ('"tiny"', f'"{65 * "t"}"', "is no name of a sweep: write letters, digits, _ and -, at most 64 of them"),
    ],
)  # fmt: skip
def test_mistakes_in_a_sweep_file(
    tiny: str, fails: Callable[..., str], tmp_path: Path, old: str, new: str, message: str
) -> None:
    (tmp_path / "tiny.py").write_text(tiny.replace(old, new))
    assert message in fails("run", str(tmp_path / "tiny.py"), "--results", str(tmp_path / "results"))
    assert not list(tmp_path.glob("results/**/*.parquet"))


def test_a_pilot_is_kept_apart(
    tiny: str, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "tiny.py"
    sweep.write_text(tiny)
    common, pilot = ("--results", str(tmp_path / "runs")), ("--images", "32")
    chosen = ("--only", "pruner=magnitude", "--no-finetune")
    cli.main(["run", str(sweep), *common, *pilot, *chosen, "--jobs", "1"])
    out = capsys.readouterr().out
    assert "tiny_pilot32 (embedded), pilot of 32 images: 1 trials, 0 done, 1 to run" in out
    rows = pd.read_parquet(tmp_path / "runs/embedded/tiny_pilot32.parquet")
    assert rows[["phase", "n_images", "calibration_images", "pilot_images"]].values.tolist() == [
        ["dense", 32, 32, 32], ["one_shot", 32, 32, 32],
    ]  # fmt: skip
    cli.main(["status", str(sweep), *common, *pilot, *chosen])
    assert "done       vit magnitude seed 0 pilot of 32 images at 0.75, one-shot alone" in capsys.readouterr().out
    cli.main(["table", str(sweep), *common, *pilot])
    assert "pilot of 32 images: no results of the benchmark" in capsys.readouterr().out
    cli.main(["run", str(sweep), *common, "--dry-run"])
    assert "tiny (embedded): 2 trials, 0 done, 2 to run" in capsys.readouterr().out
    assert "tiny_pilot32 is a pilot" in fails("report", "tiny_pilot32", *common)
    assert "--images 0 is not valid" in fails("run", str(sweep), *common, "--images", "0")
    assert "no trial has sparsity=0.6: choose from 0.75" in fails("plan", str(sweep), "--only", "sparsity=0.6")
