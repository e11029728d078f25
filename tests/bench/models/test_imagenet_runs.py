"""ImageNet-1k in small: the hub's parquet schema and the original folders, made of a few tiny photos."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import save_file
from timm.data import ImageNetInfo

import cap
from bench.cli import main
from bench.core.errors import UserError
from bench.data import imagenet
from bench.data.imagenet import decoding
from bench.data.imagenet.stream import share
from bench.data.imagenet.transforms import data_config, eval_transform
from bench.evaluation.accuracy import evaluate
from bench.models import get_model, probing
from bench.models.imagenet import IMAGENET, FeatureModel, ImageNetModel
from bench.specs.calibration import CalibrationSpec
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import ResolvedTrial, Trial
from bench.trials.context import ExecutionConfig
from bench.trials.runner import run_trial
from bench.trials.session import GateError, draw_calibration, load_dense

TINY = "test_vit.r160_in1k"  # an architecture that timm has for tests
CLASSES = (3, 7, 998)
WNIDS = sorted(ImageNetInfo("imagenet-1k").label_names())


def photo(split: str, label: int, number: int) -> bytes:
    """A JPEG of noise; some are grey, none is square."""
    random = np.random.default_rng([split == "train", label, number])
    pixels = random.integers(0, 256, (180, 200 + number, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(pixels[:, :, 0] if number == 1 else pixels)
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


def stored_images(split: str) -> list[tuple[int, bytes]]:
    """In the order of classes and names."""
    return [(label, photo(split, label, n)) for label in CLASSES for n in range(8 if split == "train" else 3)]


def write_parquet(folder: Path) -> None:
    features = Features({"image": Image(), "label": ClassLabel(names=[f"class {n}" for n in range(1000)])})
    for split, name in (("train", "train"), ("test", "validation")):
        rows = stored_images(split)
        for part, some in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            table = {
                "image": [{"bytes": content, "path": f"{name}_{n}.JPEG"} for n, (_, content) in enumerate(some)],
                "label": [label for label, _ in some],
            }
            folder.mkdir(parents=True, exist_ok=True)
            Dataset.from_dict(table, features=features).to_parquet(folder / f"{name}-{part:05d}-of-00002.parquet")


def write_folders(folder: Path) -> None:
    for split, name in (("train", "train"), ("test", "val")):
        for number, (label, content) in enumerate(stored_images(split)):
            place = folder / name / WNIDS[label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"ILSVRC2012_{number:08d}.JPEG").write_bytes(content)


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no caches but the test's own, two workers."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CAPBENCH_WORKERS", "2")
    for name in ("CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["parquet", "data/parquet", "folders"])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "imagenet"
    if request.param == "folders":
        write_folders(folder)
    else:
        write_parquet(folder / "data" if request.param.startswith("data") else folder)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    return folder


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folders(tmp_path / "imagenet")
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path / "imagenet"))
    return tmp_path / "imagenet"


def resolved(model: str, **fields: Any) -> ResolvedTrial:
    trial = Trial(sweep="s", profile="imagenet", model=model, pruner="magnitude", patterns=("0.5",), **fields)
    return trial.resolve()


def tiny_weights(spec: ImageNetModel) -> dict[str, torch.Tensor]:
    """Random ones that favour one of the classes, so that some images are right."""
    torch.manual_seed(0)
    weights = spec.build().state_dict()
    weights["head.bias"][CLASSES[0]] = 10
    return weights


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageNetModel:
    """A small model of the profile, with random weights in a local file."""
    spec = ImageNetModel(
        name="tiny", family="vit", timm_name=TINY, prunable=IMAGENET["deit_tiny"].prunable, input_size=160
    )
    (tmp_path / "weights").mkdir()
    save_file(tiny_weights(spec), tmp_path / "weights" / f"{TINY}.safetensors")
    monkeypatch.setenv("CAPBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setitem(IMAGENET, "tiny", spec)
    return spec


def test_every_source_gives_the_same_inputs(data: Path) -> None:
    imagenet.check_data()
    spec = get_model("imagenet", "deit_tiny")
    inputs = spec.inputs("test")
    images, labels = (torch.cat(parts) for parts in zip(*inputs.batches(4), strict=True))
    assert labels.tolist() == [label for label, _ in stored_images("test")]
    stored = [PIL.Image.open(io.BytesIO(content)).convert("RGB") for _, content in stored_images("test")]
    transform = eval_transform(data_config(spec.timm_name, 224))
    assert images.equal(torch.stack([transform(image) for image in stored]))
    assert images.shape == (9, 3, 224, 224)
    assert len(spec.inputs("train")) == 24


def test_order_subset_and_batches_larger_than_a_piece(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 4)
    inputs = get_model("imagenet", "deit_tiny").inputs("train")
    [(images, labels)] = inputs.batches(24)
    order = torch.tensor([20, 3, 11, 0, 7])
    [(some, their_labels)] = inputs.batches(8, order)
    assert some.equal(images[order])
    assert their_labels.equal(labels[order])
    one, again, other = inputs.subset(6, 0), inputs.subset(6, 0), inputs.subset(6, 1)
    assert one.chosen.equal(again.chosen)
    assert not one.chosen.equal(other.chosen)
    [(drawn, _)] = one.batches(6)
    assert drawn.equal(images[one.chosen])


@pytest.mark.parametrize("augmentation", ["light1", "medium2", "deit"])
def test_training_batches_depend_on_neither_workers_nor_processes(
    folders: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str
) -> None:
    spec = get_model("imagenet", "deit_tiny")
    recipe = FinetuneSpec(epochs=1, images=24, batch_size=10, lr=1e-3, lr_end=1e-4, augmentation=augmentation)
    one = list(spec.training_stream(recipe, seed=5).epoch(1))
    assert [len(labels) for _, labels in one] == [10, 10, 4]
    monkeypatch.setenv("CAPBENCH_WORKERS", "1")
    monkeypatch.setattr(decoding, "CHUNK", 3)
    shares = [list(spec.training_stream(recipe, 5, rank, 3).epoch(1)) for rank in range(3)]
    for number, (inputs, labels) in enumerate(one):
        for rank in range(3):
            chosen = share(len(inputs), rank, 3)
            some, their_labels = shares[rank][number]
            torch.testing.assert_close(some, inputs[chosen])
            torch.testing.assert_close(their_labels, labels[chosen])
    rest = list(spec.training_stream(recipe, 5).epoch(1, skip=2))
    assert len(rest) == 1
    torch.testing.assert_close(rest[0], one[2])
    other = next(iter(spec.training_stream(recipe, 5).epoch(2)))
    assert not other[0].equal(one[0][0])


def test_workers_take_no_notice_of_a_jobs_signals(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster sends them to every process of a job; the one that the workers work for answers them."""
    monkeypatch.setattr(decoding, "CHUNK", 1)
    before = signal.signal(signal.SIGUSR2, lambda *_: os._exit(3))
    try:
        batches = get_model("imagenet", "deit_tiny").inputs("train").batches(1)
        next(batches)
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        for worker in workers:
            for name in ("USR2", "TERM", "INT"):
                subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)  # by another process than this
        assert len(list(batches)) == 23
    finally:
        signal.signal(signal.SIGUSR2, before)
    some = get_model("imagenet", "deit_tiny").inputs("train").batches(1)
    next(some)
    [one, *_] = multiprocessing.active_children()
    one.terminate()
    one.join(20)
    assert one.exitcode == 0


def test_shares_make_up_the_batch() -> None:
    for count in (1, 2, 7, 10):
        shares = [share(count, rank, 3).tolist() for rank in range(3)]
        assert sorted(position for positions in shares for position in positions) == list(range(count))
        for positions in shares if count % 2 == 0 else ():
            assert [count - 1 - position for position in positions] == positions[::-1], "mixup's partners are together"


def test_a_trial_runs_with_local_data_and_weights(folders: Path, tiny: ImageNetModel, tmp_path: Path) -> None:
    trial = Trial(
        sweep="s",
        profile="imagenet",
        model="tiny",
        pruner="cap",
        pruner_options={"block_size": 16, "num_gradients": 24, "damp": 1e-6},
        patterns=("0.5",),
        finetune_at=("0.5",),
        finetune=FinetuneSpec(epochs=1, images=16, batch_size=8, lr=1e-4, lr_end=1e-5, precision="bfloat16"),
        calibration=CalibrationSpec(images=24, batch_size=8),
    )
    tiny.check()
    rows = run_trial(trial, config=ExecutionConfig(folder=tmp_path / "trial")).rows
    assert [row.phase for row in rows] == ["dense", "one_shot", "finetuned"]
    for row in rows:
        assert row.dataset == "imagenet-1k"
        assert row.n_images == 9
    assert rows[1].sparsity_prunable == pytest.approx(0.5, abs=1e-4)
    assert rows[2].finetune_images == 16
    assert rows[2].violations == 0


def test_local_weights_are_loaded(tiny: ImageNetModel, folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = tiny_weights(tiny)
    loaded = tiny.load().state_dict()
    assert all(loaded[name].equal(value) for name, value in expected.items())
    assert load_dense(resolved("tiny")).accuracy == evaluate(tiny.load(), tiny.inputs("test"))
    assert "none is on record" in caplog.text


def test_a_self_supervised_model_gets_a_head_once_and_its_neighbours_accuracy(
    folders: Path, tiny: ImageNetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "cache"))
    spec = FeatureModel(**{**tiny.model_dump(), "family": "dino", "name": "tiny_dino"})
    monkeypatch.setitem(IMAGENET, "tiny_dino", spec)
    model = spec.load()
    [(images, _)] = spec.inputs("test").batches(9)
    with torch.inference_mode():
        logits = model(images)
    assert set(logits.argmax(1).tolist()) <= set(CLASSES), "the head was fitted to the classes that there are"
    assert all(
        value.equal(tiny_weights(tiny)[name]) for name, value in model.state_dict().items() if "head" not in name
    )
    [head] = (tmp_path / "cache" / "heads").iterdir()
    assert head == spec.head_file()
    with monkeypatch.context() as patch:
        patch.setattr(probing, "features", lambda *_: pytest.fail("the head is there already"))
        assert torch.equal(spec.load().get_classifier().weight, model.get_classifier().weight)
    other = shutil.copytree(folders, tmp_path / "other")
    (other / "train" / WNIDS[CLASSES[0]]).rename(other / "train" / WNIDS[0])
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(other))
    assert spec.head_file().name != head.name, "other data, another head"
    trial = Trial(sweep="s", profile="imagenet", model="tiny_dino", pruner="magnitude", patterns=("0.5",))
    rows = run_trial(trial).rows
    assert [row.phase for row in rows] == ["dense", "one_shot"]
    assert all(0 <= row.knn_top1 <= 100 for row in rows)
    assert rows[0].knn_top1 == spec.knn_top1(spec.load())


def test_the_gate_closes_on_weights_of_another_accuracy(
    folders: Path, tiny: ImageNetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    top1 = evaluate(tiny.load(), tiny.inputs("test")).top1
    monkeypatch.setitem(IMAGENET, "tiny", tiny.model_copy(update={"top1": top1 + 0.29}))
    load_dense(resolved("tiny"))
    monkeypatch.setitem(IMAGENET, "tiny", tiny.model_copy(update={"top1": top1 + 0.31}))
    with pytest.raises(GateError, match="is recorded for its weights"):
        load_dense(resolved("tiny"))


def test_calibration_images_are_drawn_from_the_training_set(folders: Path) -> None:
    chosen = resolved("deit_tiny", calibration=CalibrationSpec(images=10), seed=3)
    calibration = draw_calibration(chosen, share=False)
    seed = chosen.trial.derived_seed("calibration")
    [(images, labels)] = get_model("imagenet", "deit_tiny").inputs("train").subset(10, seed).batches(10)
    assert isinstance(calibration, cap.Calibration)
    assert calibration.images.equal(images)
    assert calibration.labels.equal(labels)


def test_missing_data_are_named_with_the_ways_to_provide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = r"set CAPBENCH_IMAGENET to a folder .*train-\*\.parquet.*train/<wnid>/.*HF_TOKEN"
    with pytest.raises(UserError, match=f"CAPBENCH_IMAGENET is not set.*HF_HUB_OFFLINE is set.*{ways}"):
        imagenet.check_data()
    folder = tmp_path / "imagenet"
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    with pytest.raises(UserError, match=f"{folder}, which is no folder.*{ways}"):
        imagenet.check_data()
    folder.mkdir()
    with pytest.raises(UserError, match=f"no parquet files, and {folder}/train is missing.*{ways}"):
        imagenet.check_data()
    write_folders(folder)
    for image in (folder / "val").glob("*/*"):
        image.rename(folder / "val" / image.name)
    for place in (folder / "val").glob("n*"):
        place.rmdir()
    with pytest.raises(UserError, match=f"{folder}/val holds images but no folders of classes"):
        imagenet.check_data()
    (folder / "val" / "cats").mkdir()
    with pytest.raises(UserError, match="val/cats is not named by a wnid of imagenet-1k such as n01440764"):
        imagenet.check_data()
    write_parquet(folder / "data")
    imagenet.check_data()
    for file in (folder / "data").glob("validation-*"):
        os.remove(file)
    with pytest.raises(UserError, match=r"data has no validation-\*\.parquet"):
        imagenet.check_data()
    other = Dataset.from_dict({"image": [1], "target": [0]})
    other.to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"validation-00000-of-00001\.parquet has no column label"):
        imagenet.check_data()


def test_a_token_without_access_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="there is no token for the hub"):
        imagenet.check_data()

    def refuse(*_: object, **__: object) -> None:
        raise GatedRepoError("gated", response=Mock(headers={}))

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", refuse)
    with pytest.raises(UserError, match="the token for the hub has no access to ILSVRC/imagenet-1k"):
        imagenet.check_data()


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


def test_weights_that_were_cut_off_are_found_before_the_first_trial(tiny: ImageNetModel, folders: Path) -> None:
    tiny.check()
    path = tiny.weights_file()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path} is damaged"):
        tiny.check()


def test_a_damaged_photo_is_named(folders: Path) -> None:
    broken = sorted((folders / "val").glob("*/*"))[4]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"image 4 \({broken}\) cannot be decoded"):
        list(get_model("imagenet", "deit_tiny").inputs("test").batches(9))


def test_a_run_names_all_models_without_weights(
    folders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "recovery", "--profile", "imagenet", "--results", str(tmp_path / "results")])
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
