"""Pruning during training: steps, rows, checkpoints, and that a run that was killed ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bench.execution.worker import execute
from bench.specs.recipes import ACDCSpec, FinetuneSpec, GradualSpec, QuantizationSpec
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig
from bench.trials.runner import run_trial

ROOT = Path(__file__).parents[3]
COMMON = {"images": 128, "batch_size": 32, "lr": 5e-4, "lr_end": 1e-5, "crop": 0.75}
SWEEP = """
from bench.specs.recipes import ACDCSpec, GradualSpec
from bench.specs.sweep import Sweep, grid
COMMON = {"images": 128, "batch_size": 32, "lr": 5e-4, "lr_end": 1e-5, "crop": 0.75}
SWEEP = Sweep(name="regimes", title="t", profiles={"embedded": grid(
    sweep="regimes", profile="embedded", model="vit", calibration={"images": 64}, evaluation_images=500, pruner="cap",
    pruner_options={"block_size": 16, "num_gradients": 64}, patterns=("0.5", "0.9"),
    training=GradualSpec(
        epochs=6, period=1, knots=((0, 0.5), (4, 0.9)), augmentation="deit", distillation=0.2, **COMMON
    ),
) + grid(
    sweep="regimes", profile="embedded", model="vit", calibration={"images": 64}, evaluation_images=500,
    pruner="magnitude", patterns=("0.8",),
    training=ACDCSpec(epochs=5, sparsity=0.8, phase=1, final=2, warmup=1, **COMMON),
)})
"""


def gradual(**changes) -> GradualSpec:
    fields = {"epochs": 6, "period": 1, "knots": ((0, 0.5), (4, 0.9)), **COMMON, **changes}
    return GradualSpec(**fields)


def test_gradual_steps_and_what_is_measured() -> None:
    how = gradual(epochs=300, period=20, knots=((20, 0.5), (40, 0.6), (100, 0.75), (280, 0.9)))
    assert how.events()[20] == 0.5
    assert how.measured()[40] == 0.5  # just before the next step
    assert how.measured()[300] == 0.9
    assert how.lr_period() == 20
    assert gradual(schedule="cosine").lr_period() == 6


def test_acdc_phases() -> None:
    how = ACDCSpec(epochs=12, sparsity=0.9, warmup=2, phase=2, final=3, **COMMON)
    assert how.events() == {2: 0.9, 4: None, 6: 0.9}
    assert how.measured() == {12: 0.9}
    assert ACDCSpec(epochs=3, sparsity=0.9, phase=2, final=3, **COMMON).events() == {0: 0.9}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradual(epochs=4), "the last pruning step is at epoch 4"),
        (lambda: gradual(period=3), "no multiple of the period"),
        (lambda: gradual(period=2, knots=((1, 0.5), (3, 0.9))), "out of step with a sawtooth of 2"),
        (lambda: gradual(augmentation="heavy"), "light1"),
        (lambda: gradual(schedule="steps"), "sawtooth"),
        (lambda: gradual(warmup=0.1), "a sawtooth has no warmup"),
        (lambda: QuantizationSpec(finetune=FinetuneSpec(epochs=1, ema=0.9, **COMMON)), "training in INT8 has no ema"),
        (lambda: ACDCSpec(epochs=4, sparsity=0.9, warmup=2, phase=1, final=3, **COMMON), "are more than 4"),
        (lambda: Trial(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.55",),
                       training=gradual()), "0.55 is not reached in training: choose from 0.5, 0.6, 0.7, 0.8, 0.9"),
        (lambda: Trial(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",),
                       finetune_at=("0.5",), finetune=FinetuneSpec(epochs=1, **COMMON), training=gradual()),
         "belongs to one-shot pruning"),
    ],
)  # fmt: skip
def test_impossible_training_is_refused(make, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def command(folder: Path) -> list[str]:
    arguments = ["run", str(folder / "regimes.py"), "--jobs", "1", "--results", str(folder / "results")]
    return [sys.executable, "-m", "bench", *arguments]


def run(folder: Path, kill_at_epoch: int | None = None) -> None:
    """Runs the sweep; or kills it without warning as soon as the first run has a checkpoint of that epoch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command(folder), cwd=ROOT, env=environment, start_new_session=True) as process:
        while kill_at_epoch is not None and process.poll() is None:
            for state in folder.glob("results/embedded/regimes/*/checkpoint/state.pt"):
                try:
                    epoch = torch.load(state, weights_only=True)["parts"]["training"]["epoch"]
                except (OSError, RuntimeError, KeyError):  # replaced while it was read
                    continue
                if epoch >= kill_at_epoch:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return
            time.sleep(0.02)
        assert process.wait() == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run from start to end, and one that was killed twice."""
    through, killed = tmp_path_factory.mktemp("through"), tmp_path_factory.mktemp("killed")
    for folder in (through, killed):
        (folder / "regimes.py").write_text(SWEEP)
    run(through)
    run(killed, kill_at_epoch=2)
    run(killed, kill_at_epoch=4)
    run(killed)
    return through, killed


def weights_of(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "results/embedded/regimes").glob("*/*.safetensors"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def test_a_killed_run_ends_with_the_same_weights(runs: tuple[Path, Path]) -> None:
    through, killed = map(weights_of, runs)
    assert sorted(name.split("/")[1] for name in through) == ["0.5.safetensors", "0.8.safetensors", "0.9.safetensors"]
    assert through == killed
    assert not list(runs[1].glob("results/embedded/regimes/*/checkpoint*"))


def test_rows_of_training(runs: tuple[Path, Path]) -> None:
    through, killed = (pd.read_parquet(folder / "results/embedded/regimes.parquet") for folder in runs)
    assert through.groupby("regime")["phase"].apply(list).to_dict() == {
        "gradual": ["dense", "finetuned", "finetuned"],
        "acdc": ["dense", "finetuned"],
    }
    pruned = through[through["phase"] == "finetuned"]
    assert pruned["pattern"].tolist() == ["0.5", "0.9", "0.8"]
    assert pruned["epoch"].tolist() == [1, 6, 5]
    assert (pruned["violations"] == 0).all()
    assert (pruned["sparsity_prunable"] - pruned["sparsity_target"]).abs().max() < 1e-5
    assert pruned["agreement"].between(10, 100).all()
    assert through["top1"].tolist() == killed["top1"].tolist()
    assert through["loss"].tolist() == killed["loss"].tolist()


def test_checkpoints_hold_the_pruned_model_and_its_masks(runs: tuple[Path, Path]) -> None:
    folder = runs[0] / "results/embedded/regimes"
    half, most = (load_file(next(folder.glob(f"*/{pattern}.safetensors"))) for pattern in ("0.5", "0.9"))
    masks = [name for name in half if name.startswith("mask.")]
    assert masks
    zeros = sum(int((~most[name].bool()).sum()) for name in masks)
    assert zeros == round(0.9 * sum(most[name].numel() for name in masks))
    for name in masks:
        assert (most[name.removeprefix("mask.")][~most[name]] == 0).all()
        assert not (most[name] & ~half[name]).any(), "a weight came back"


def test_a_pruner_that_brings_weights_back_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import cap, torch\n"
        "class Random(cap.ScorePruner):\n"
        "    def scores(self, model, layers, calibration):\n"
        "        return {name: torch.rand(weight.shape) for name, weight in layers.items()}\n"
        "    def select(self, pattern):\n"
        "        from cap.selection import select\n"
        "        torch.manual_seed(int(pattern.sparsity * 100))\n"
        "        return select({name: torch.rand(w.shape) for name, w in self.weights.items()}, pattern)\n"
    )
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner=f"{path}:Random", patterns=("0.6",),
        training=gradual(epochs=2, knots=((0, 0.5), (1, 0.6)), images=32), calibration={"images": 16},
        evaluation_images=100,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="came back at"):
        run_trial(trial)


def test_a_pruner_that_supports_no_such_pattern_says_so() -> None:
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner="wanda", patterns=("0.5",), calibration={"images": 16},
        evaluation_images=100, training=gradual(epochs=1, knots=((0, 0.5),), images=32),
    )  # fmt: skip
    _, skipped = run_trial(trial).rows
    assert skipped.status == "skipped"
    assert "ask for" in (skipped.error or "")


def test_the_control_and_the_average_of_the_weights() -> None:
    """With nothing removed the model is the dense one until it is trained; an average is not the last model."""
    recipe = FinetuneSpec(epochs=1, images=64, batch_size=16, lr=1e-3, lr_end=1e-5, warmup=0.5, schedule="cosine",
                          augmentation="mild", crop=1.0)  # fmt: skip
    common = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "magnitude", "patterns": ("0.0",),
              "finetune_at": ("0.0",), "calibration": {"images": 16}, "evaluation_images": 200}  # fmt: skip
    trials = [Trial(**common, finetune=recipe.model_copy(update={"ema": ema})) for ema in (0.0, 0.99)]
    assert trials[0].id != trials[1].id
    found = [{row.phase: row for row in run_trial(trial).rows} for trial in trials]
    for rows in found:
        assert rows["one_shot"].loss == rows["dense"].loss
        assert rows["one_shot"].sparsity_prunable == 0.0
        assert rows["finetuned"].loss != rows["dense"].loss
    assert found[0]["finetuned"].loss != found[1]["finetuned"].loss
    assert "ema" not in (found[0]["finetuned"].recipe or ""), "as in rows from before there was one"
    assert '"ema":0.99' in (found[1]["finetuned"].recipe or "")


@pytest.mark.parametrize("keep", [True, False])
def test_models_need_not_be_kept(tmp_path: Path, keep: bool) -> None:
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",), evaluation_images=50,
        calibration={"images": 16}, training=gradual(epochs=1, images=32, knots=((0, 0.5),)),
    )  # fmt: skip
    assert execute(trial, tmp_path, ExecutionConfig(keep_models=keep)).status == "done"
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == (["0.5.safetensors"] if keep else [])
