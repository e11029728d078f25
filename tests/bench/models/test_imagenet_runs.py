"""ImageNet models in trials and on the command line, with tiny photos and a tiny model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save_file

import cap
from bench.cli import main
from bench.core.errors import UserError
from bench.evaluation.accuracy import evaluate
from bench.execution.preflight import check_models, check_trials
from bench.models import get_model, probing
from bench.models.imagenet import IMAGENET, FeatureModel, ImageNetModel
from bench.specs.calibration import CalibrationSpec
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import ResolvedTrial, Trial
from bench.trials.context import ExecutionConfig
from bench.trials.gate import GateError
from bench.trials.runner import run_trial
from bench.trials.session import draw_calibration, load_dense

TINY = "test_vit.r160_in1k"  # an architecture that timm has for tests
FAVOURED = 3  # class that some of the photos are of


@pytest.fixture(autouse=True)
def _alone(no_network: None) -> None:
    """No test of this file reaches the hub."""


def tiny_weights(spec: ImageNetModel) -> dict[str, torch.Tensor]:
    """Random ones that favour one of the classes, so that some images are right."""
    torch.manual_seed(0)
    weights = spec.build().state_dict()
    weights["head.bias"][FAVOURED] = 10
    return weights


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageNetModel:
    """A small model of the profile, with random weights in a local file."""
    spec = ImageNetModel(
        name="tiny",
        family="vit",
        timm_name=TINY,
        timm_options={"img_size": 48},
        prunable=IMAGENET["deit_tiny"].prunable,
        input_size=48,
    )
    (tmp_path / "weights").mkdir()
    save_file(tiny_weights(spec), tmp_path / "weights" / f"{TINY}.safetensors")
    monkeypatch.setenv("CAPBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setitem(IMAGENET, "tiny", spec)
    return spec


def resolved(model: str, **fields: Any) -> ResolvedTrial:
    trial = Trial(sweep="s", profile="imagenet", model=model, pruner="magnitude", patterns=("0.5",), **fields)
    return trial.resolve()


def test_a_trial_runs_with_local_data_and_weights(imagenet_folders: Path, tiny: ImageNetModel, tmp_path: Path) -> None:
    trial = Trial(
        sweep="s",
        profile="imagenet",
        model="tiny",
        pruner="cap",
        pruner_options={"block_size": 16, "num_gradients": 24, "damp": 1e-6},
        patterns=("0.5",),
        finetune_at=("0.5",),
        finetune=FinetuneSpec(epochs=1, images=16, batch_size=8, lr=1e-4, lr_end=1e-5, precision="bfloat16"),
        calibration=CalibrationSpec(images=25, batch_size=8),
    )
    tiny.check()
    rows = run_trial(trial, config=ExecutionConfig(folder=tmp_path / "trial")).rows
    assert [row.phase for row in rows] == ["dense", "one_shot", "finetuned"]
    for row in rows:
        assert row.dataset == "imagenet-1k"
        assert row.n_images == 15
        assert row.calibration_images == 24, "all there are"
    assert rows[1].sparsity_prunable == pytest.approx(0.5, abs=1e-4)
    assert rows[2].finetune_images == 16
    assert rows[2].violations == 0


def test_local_weights_are_loaded(
    tiny: ImageNetModel, imagenet_folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = tiny_weights(tiny)
    loaded = tiny.load().state_dict()
    assert all(loaded[name].equal(value) for name, value in expected.items())
    assert load_dense(resolved("tiny")).accuracy == evaluate(tiny.load(), tiny.inputs("test"))
    assert "none is on record" in caplog.text


def test_a_self_supervised_model_gets_a_head_once_and_its_neighbours_accuracy(
    photos: Any, imagenet_folders: Path, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    spec = FeatureModel(**{**tiny.model_dump(), "family": "dino", "name": "tiny_dino"})
    monkeypatch.setitem(IMAGENET, "tiny_dino", spec)
    model = spec.load()
    [(images, _)] = spec.inputs("test").batches(15)
    with torch.inference_mode():
        logits = model(images)
    assert set(logits.argmax(1).tolist()) <= set(photos.labels), "the head was fitted to the classes that there are"
    assert all(
        value.equal(tiny_weights(tiny)[name]) for name, value in model.state_dict().items() if "head" not in name
    )
    [head] = (tmp_path / "cache" / "heads").iterdir()
    assert head == spec.head_file()
    with monkeypatch.context() as patch:
        patch.setattr(probing, "features", lambda *_: pytest.fail("the head is there already"))
        assert torch.equal(spec.load().get_classifier().weight, model.get_classifier().weight)
    other = shutil.copytree(imagenet_folders, tmp_path / "other")
    (other / "train" / photos.wnids[FAVOURED]).rename(other / "train" / photos.wnids[0])
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(other))
    assert spec.head_file().name != head.name, "other data, another head"
    trial = Trial(sweep="s", profile="imagenet", model="tiny_dino", pruner="magnitude", patterns=("0.5",))
    rows = run_trial(trial).rows
    assert [row.phase for row in rows] == ["dense", "one_shot"]
    assert all(0 <= row.knn_top1 <= 100 for row in rows)
    assert rows[0].knn_top1 == spec.knn_top1(spec.load())


def test_the_gate_closes_on_weights_of_another_accuracy(
    imagenet_folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen images of 50,000: one of them, and four standard errors."""
    top1 = evaluate(tiny.load(), tiny.inputs("test")).top1
    monkeypatch.setitem(IMAGENET, "tiny", tiny.model_copy(update={"top1": top1 + 6.0}))
    load_dense(resolved("tiny"))
    monkeypatch.setitem(IMAGENET, "tiny", tiny.model_copy(update={"top1": 99.9}))
    with pytest.raises(GateError, match="is recorded for its weights"):
        load_dense(resolved("tiny"))
    rows = run_trial(resolved("tiny").trial, config=ExecutionConfig(expected_top1={"tiny": top1})).rows
    assert {(row.gate, row.gate_top1) for row in rows} == {("expected", top1)}


def test_calibration_images_are_drawn_from_the_training_set(imagenet_folders: Path) -> None:
    chosen = resolved("deit_tiny", calibration=CalibrationSpec(images=10), seed=3)
    calibration = draw_calibration(chosen, share=False)
    seed = chosen.trial.derived_seed("calibration")
    [(images, labels)] = get_model("imagenet", "deit_tiny").inputs("train").subset(10, seed).batches(10)
    assert isinstance(calibration, cap.Calibration)
    assert calibration.images.equal(images)
    assert calibration.labels.equal(labels)


def test_missing_and_wrong_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = get_model("imagenet", "deit_tiny")
    name = "deit_tiny_patch16_224.fb_in1k.safetensors"
    with pytest.raises(UserError, match=f"no weights of deit_tiny: CAPBENCH_WEIGHTS is not set.*as {name} into a"):
        spec.load()
    monkeypatch.setenv("CAPBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=f"{tmp_path} has no {name}, and the hub gave none"):
        spec.load()
    save_file({"x": torch.zeros(100)}, tmp_path / name)
    with pytest.raises(UserError, match=f"{tmp_path / name} does not hold the weights of deit_tiny_patch16_224"):
        spec.load()


def test_weights_that_were_cut_off_are_found_before_the_first_trial(
    tiny: ImageNetModel, imagenet_folders: Path
) -> None:
    tiny.check()
    path = tiny.weights_file()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path} is damaged"):
        tiny.check()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_of_another_model_are_found_before_the_first_trial(
    tiny: ImageNetModel, imagenet_folders: Path, ending: str
) -> None:
    path = tiny.weights_file().with_suffix(f".{ending}")
    tiny.weights_file().unlink()
    save: Any = save_file if ending == "safetensors" else torch.save
    weights = tiny_weights(tiny)
    save(weights, path)
    tiny.check()
    removed = [name for name in weights if name.startswith("blocks.1.")]
    others = {name: value for name, value in weights.items() if name not in removed}
    save({**others, "norm.weight": torch.zeros(3), "x": torch.zeros(2)}, path)
    lacks = (
        rf"they lack {removed[0]} and {len(removed) - 1} more; they have x; another shape has norm.weight \(3,\), not"
    )
    with pytest.raises(UserError, match=f"^weights {path} are not those of tiny: {lacks}"):
        tiny.check()


def test_all_that_is_wrong_with_weights_is_told_at_once(
    tiny: ImageNetModel, imagenet_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": torch.zeros(2)}, tiny.weights_file())
    asked: list[str] = []

    def refuse(endpoint: str, **_: object) -> None:
        asked.append(endpoint)
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: Mock(head=refuse))
    monkeypatch.setattr("bench.models.weight_files.BELIEVED", 10**9)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.of.this.test")
    trials = [resolved(name).trial for name in ("deit_tiny", "tiny", "deit_small", "deit_base")]
    with pytest.raises(UserError) as refused:
        check_models(trials)
    first, wrong = str(refused.value).split("; weights ")
    assert first.startswith("no weights of deit_tiny: ")
    assert "the hub gave none (ConnectionError: no route)" in first
    assert first.endswith("; nor can deit_small, deit_base be loaded")
    assert "are not those of tiny: they lack" in wrong
    assert len(asked) == 1, "not once a model, and not again and again"


def test_what_the_nodes_alone_have_is_not_asked_for(tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no imagenet-1k"):
        tiny.check_but(())
    tiny.check_but({"CAPBENCH_IMAGENET"})
    tiny.weights_file().unlink()
    tiny.check_but({"CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS"})


def test_other_images_are_another_trial_and_its_rows_tell_which(
    photos: Any, imagenet_folders: Path, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = resolved("tiny", calibration=CalibrationSpec(images=4096)).trial
    assert trial.resolve().num_evaluated == 15
    first = trial.id
    row = run_trial(trial).rows[1]
    card = tiny.data_card()
    assert card is not None
    assert (row.train_images, row.test_images, row.data_checksum) == (24, 15, card.checksum)
    assert row.calibration_images == 24
    other = photos.copy("folders", tmp_path / "other")
    min((other / "val").glob("*/*")).unlink()
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(other))
    assert trial.id != first
    assert trial.resolve().num_evaluated == 14
    monkeypatch.delenv("CAPBENCH_IMAGENET")
    assert trial.id not in (first, ""), "what is assumed where nothing can be seen: all of it"


def test_a_run_names_all_models_without_weights(
    imagenet_folders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "recovery", "--profile", "imagenet", "--images", "24", "--results", str(tmp_path / "results")])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("capbench: no weights of deit_tiny: CAPBENCH_WEIGHTS is not set")
    assert line.endswith("; nor can deit_small be loaded")


def test_a_run_without_data_ends_before_it_begins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "table1", "--profile", "imagenet", "--only", "model=deit_tiny", "--results", str(tmp_path / "r")])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("capbench: no imagenet-1k: CAPBENCH_IMAGENET is not set")
    assert not list((tmp_path / "r").rglob("*.parquet"))
    main(["run", "table1", "--profile", "imagenet", "--dry-run", "--results", str(tmp_path / "r")])
    assert "135 to run" in capsys.readouterr().out


def test_gradients_of_augmented_images(imagenet_folders: Path, tiny: ImageNetModel) -> None:
    trial = Trial(
        sweep="s", profile="imagenet", model="tiny", pruner="cap", patterns=("0.5",),
        pruner_options={"block_size": 16, "num_gradients": 6, "damp": 1e-6},
        calibration={"images": 24, "batch_size": 4, "gradient": "batch", "augmentation": "crops"},
    )  # fmt: skip
    rows = run_trial(trial).rows
    assert [(row.phase, row.calibration_augmentation) for row in rows] == [("dense", "crops"), ("one_shot", "crops")]
    assert (rows[1].num_gradients, rows[1].calibration_images) == (6, 24)
    assert rows[1].observed_loss_increase is not None
    images, labels = (draw_calibration(trial.resolve(), share=False) for _ in "ab")
    assert images.images.equal(labels.images), "one view of each image"
    plain = draw_calibration(resolved("tiny", calibration={"images": 24}), share=False)
    assert plain.labels.equal(images.labels), "the same images as without"
    assert not plain.images.equal(images.images)


def test_more_gradients_than_images_are_refused_before_any_work(imagenet_folders: Path, tiny: ImageNetModel) -> None:
    trial = Trial(
        sweep="s", profile="imagenet", model="tiny", pruner="cap", patterns=("0.5",), calibration={"images": 100},
        pruner_options={"num_gradients": 100},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"num_gradients is 100, but there are 24 training images; .*: --images 24$"):
        check_trials([trial])
