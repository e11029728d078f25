"""ImageNet-1k on a small set of generated photos, in the hub's parquet schema and in the original folders."""

from __future__ import annotations

import io
import multiprocessing
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from huggingface_hub.errors import GatedRepoError
from timm.data import ImageNetInfo
from torch import Tensor, nn

from bench import cli, decoding, photos, zoo
from bench.cluster import Resources, execute
from bench.data import together
from bench.decoding import data_config, own_random_numbers, share, training_transform
from bench.errors import UserError
from bench.photos import check_photos, load_photos
from bench.recipes import AUGMENTATION_SETS, FinetuneSpec
from bench.spec import CalibrationSpec, Trial
from bench.store import Store
from bench.trial import load_calibration, load_dense
from bench.zoo.photo import PhotoModel

LABELS = (3, 7, 998)
COUNTS = {"train": 8, "test": 5}  # images of each class
WNIDS = sorted(ImageNetInfo("imagenet-1k").label_names())
SIZE = 48


class TinyModel(PhotoModel):
    """timm's smallest ViT with random weights that favour one class, so that some answers are right."""

    gate: ClassVar[float] = 0.1

    @property
    def identity(self) -> dict[str, str]:
        return {"weights": "seed 0"}

    def recorded_top1(self) -> float:
        return 100 / len(LABELS)

    def load(self, device: str = "cpu") -> nn.Module:
        torch.manual_seed(0)
        model = self.build()
        with torch.no_grad():
            model.head.bias[LABELS[1]] = 100
        return model.to(device).eval()


TINY = TinyModel(
    name="tiny",
    family="vit",
    timm_name="test_vit.r160_in1k",
    timm_options={"img_size": SIZE},
    prunable=(r".*(attn.(qkv|proj)|mlp.fc\d+).weight",),
    input_size=SIZE,
)


def photo(split: str, label: int, number: int) -> bytes:
    """Returns a file; none is square, and some are grey, CMYK, or a PNG with transparency."""
    draw = np.random.default_rng([split == "train", label, number])
    height, width = draw.integers(50, 90, 2)
    channels, mode = {1: (1, "L"), 2: (4, "CMYK"), 3: (4, "RGBA")}.get(number, (3, "RGB"))
    coarse = PIL.Image.fromarray(draw.integers(0, 256, (5, 6, channels), dtype=np.uint8).squeeze(), mode)
    file = io.BytesIO()
    coarse.resize((int(width), int(height))).save(file, "PNG" if mode == "RGBA" else "JPEG")
    return file.getvalue()


def stored(split: str) -> list[tuple[int, bytes]]:
    """The labels and files of a split, sorted by class and name."""
    return [(label, photo(split, label, number)) for label in LABELS for number in range(COUNTS[split])]


def write_parquet(folder: Path) -> None:
    """Writes two files for each split, without a library that knows images."""
    folder.mkdir(parents=True, exist_ok=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, name in (("train", "train"), ("test", "validation")):
        rows = stored(split)
        for part, some in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            images = [{"bytes": content, "path": f"{n}.JPEG"} for n, (_, content) in enumerate(some)]
            labels = pa.array([label for label, _ in some], pa.int64())
            table = pa.table({"image": pa.array(images, image), "label": labels})
            pq.write_table(table, folder / f"{name}-{part:05d}-of-00002.parquet")


def write_folders(folder: Path) -> None:
    for split, name in (("train", "train"), ("test", "val")):
        for number, (label, content) in enumerate(stored(split)):
            place = folder / name / WNIDS[label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"ILSVRC2012_{number:08d}.JPEG").write_bytes(content)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same photos in every layout."""
    root = tmp_path_factory.mktemp("imagenet")
    write_parquet(root / "parquet")
    write_parquet(root / "below" / "data")
    write_folders(root / "folders")
    return {name: root / name for name in ("parquet", "below", "folders")}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, no cache but the test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("CAPBENCH_IMAGENET", raising=False)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    yield
    photos._load_photos.cache_clear()
    load_dense.cache_clear()
    load_calibration.cache_clear()


@pytest.fixture
def folders(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(places["folders"]))
    return places["folders"]


def by_hand(content: bytes) -> Tensor:
    """Shorter side to 48 / 0.95 = 50 pixels, centre crop of 48, pixels to [-1, 1]: timm's record of these weights."""
    image = PIL.Image.open(io.BytesIO(content)).convert("RGB")
    scale = 50 / min(image.size)
    image = image.resize([50 if side == min(image.size) else int(scale * side) for side in image.size], 3)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float32) / 255
    return torch.from_numpy((pixels - 0.5) / 0.5).permute(2, 0, 1)


@pytest.mark.parametrize("layout", ["parquet", "below", "folders"])
def test_every_layout_gives_the_same_inputs(
    layout: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(places[layout]))
    TINY.check()
    for split in ("train", "test"):
        images, labels = together(TINY.inputs(split), batch_size=4)
        assert labels.tolist() == [label for label, _ in stored(split)]
        torch.testing.assert_close(images, torch.stack([by_hand(content) for _, content in stored(split)]))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_order_and_subset(folders: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setattr(decoding, "PIECE", 3)
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    inputs = TINY.inputs("train")
    images, labels = together(inputs)
    order = torch.tensor([20, 3, 11, 0, 7])
    batches = list(inputs.batches(4, order))
    assert [len(some) for some, _ in batches] == [4, 1]
    assert torch.cat([some for some, _ in batches]).equal(images[order])
    assert torch.cat([some for _, some in batches]).equal(labels[order])
    one, again, other = (together(inputs.subset(6, seed)) for seed in (0, 0, 1))
    assert one[0].equal(again[0])
    assert not one[0].equal(other[0])
    assert len(inputs.subset(100, 0)) == 24
    assert next(inputs.subset(6, 0).subset(6, 1).batches(6, torch.tensor([0])))[0].shape == (1, 3, SIZE, SIZE)


def training(augmentation: str, **changes: Any) -> FinetuneSpec:
    fields = {"epochs": 1, "images": 24, "batch_size": 10, "lr": 1e-3, "lr_end": 1e-4, **changes}
    return FinetuneSpec(augmentation=augmentation, **fields)


@pytest.mark.parametrize("augmentation", AUGMENTATION_SETS)
def test_training_does_not_depend_on_workers(folders: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str) -> None:
    def epoch(seed: int, number: int, workers: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        monkeypatch.setenv("CAPBENCH_WORKERS", str(workers))
        return list(TINY.training_batches(training(augmentation), seed, number)), torch.rand(3)

    one, drawn = epoch(5, 1, workers=0)
    assert [len(labels) for _, labels in one] == [10, 10, 4]
    assert all(inputs.shape[1:] == (3, SIZE, SIZE) and inputs.isfinite().all() for inputs, _ in one)
    monkeypatch.setattr(decoding, "PIECE", 3)
    again, drawn_again = epoch(5, 1, workers=2)
    assert drawn.equal(drawn_again), "what the model draws depends on the workers"
    for (inputs, labels), (same, same_labels) in zip(one, again, strict=True):
        assert inputs.equal(same)
        assert labels.equal(same_labels)
    for seed, number in ((5, 2), (6, 1)):
        other, _ = epoch(seed, number, workers=0)
        assert not other[0][0].equal(one[0][0])


@pytest.mark.parametrize("augmentation", ["light1", "deit"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_together_are_the_batch(
    folders: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str, world_size: int
) -> None:
    how = training(augmentation, images=23)  # the last batch is of 3, which is not mixed
    whole = list(TINY.training_batches(how, 5, 1))
    decoded: list[int] = []
    read = decoding._Decoded.__getitem__
    monkeypatch.setattr(
        decoding._Decoded, "__getitem__", lambda self, index: decoded.append(index) or read(self, index)
    )
    for rank in range(world_size):
        batches = list(TINY.training_batches(how, 5, 1, rank, world_size))
        for (inputs, labels), (some, their_labels) in zip(whole, batches, strict=True):
            chosen = share(len(inputs), rank, world_size)
            assert some.equal(inputs[chosen])
            assert their_labels.equal(labels[chosen])
    assert len(decoded) == len(set(decoded)) == 23, "each image is decoded once, by the process that needs it"


def test_training_goes_on_in_mid_epoch(folders: Path) -> None:
    how = training("deit")
    whole, rest = (list(TINY.training_batches(how, 5, 1, done=done)) for done in (0, 2))
    assert len(rest) == 1
    assert rest[0][0].equal(whole[2][0])
    assert rest[0][1].equal(whole[2][1])


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10])
def test_a_share_has_the_partners_of_its_images(count: int) -> None:
    shares = [share(count, rank, 3).tolist() for rank in range(3)]
    assert sorted(position for some in shares for position in some) == list(range(count))
    assert all(count - 1 - position in some for some in shares for position in some)
    assert share(count, 0, 1).tolist() == list(range(count))


def test_training_transform_follows_the_set() -> None:
    config = data_config(TINY.timm_name, SIZE)
    white = PIL.Image.new("RGB", (80, 60), (255, 255, 255))
    light, erasing = (training_transform(training(name, crop=1.0), config) for name in ("light1", "deit"))
    crops = light.transforms[0]
    assert (crops.scale, training_transform(training("light1"), config).transforms[0].scale) == ((1.0, 1.0), (0.08, 1))
    assert "RandomErasing" in str(erasing)
    assert "RandomErasing" not in str(light)
    with own_random_numbers(0):
        assert light(white).shape == (3, SIZE, SIZE)


def test_random_numbers_of_others_go_on() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = torch.rand(1)
    with own_random_numbers(2):
        torch.rand(5)
    assert torch.cat([first, torch.rand(1)]).equal(expected)


def test_calibration_images_come_from_the_training_set(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zoo.PROFILES, "imagenet", {"tiny": TINY})
    shared = load_calibration("imagenet", "tiny", CalibrationSpec(images=10), 3, 4).calibration
    images, labels = together(TINY.inputs("train").subset(10, 3))
    assert shared.images.equal(images)
    assert shared.labels.equal(labels)
    known = torch.stack([by_hand(content) for _, content in stored("train")])
    distances = (shared.images[:, None] - known).abs().flatten(2).amax(2)  # (10, 24)
    assert len(set(distances.argmin(1).tolist())) == 10
    assert distances.amin(1).max() < 1e-5


def test_a_trial_runs_end_to_end(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(zoo.PROFILES, "imagenet", {"tiny": TINY})
    monkeypatch.setenv("CAPBENCH_WORKERS", "2")
    trial = Trial(
        sweep="s",
        profile="imagenet",
        model="tiny",
        pruner="magnitude",
        patterns=("0.5",),
        finetune_at=("0.5",),
        finetune=training("medium2", images=16, batch_size=8),
        calibration=CalibrationSpec(images=16, batch_size=8),
    )
    assert execute(trial, tmp_path, Resources(), share=False) == ("done", None)
    rows = pd.read_parquet(Store(tmp_path, "imagenet", "s").path(trial.id))
    assert list(rows["phase"]) == ["dense", "one_shot", "finetuned"]
    assert set(rows["dataset"]) == {"imagenet-1k"}
    assert set(rows["n_images"]) == {15}
    assert rows["top1"][0] == pytest.approx(100 / 3)
    assert rows["sparsity_prunable"][1] == pytest.approx(0.5, abs=1e-5)
    assert rows["finetune_images"][2] == 16
    assert "has 15 validation images, not 50000" in caplog.text


WAYS = r"set CAPBENCH_IMAGENET to a folder .*train-\*\.parquet.*train/<wnid>/.*ILSVRC/imagenet-1k.*HF_TOKEN"


def test_no_data_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"CAPBENCH_IMAGENET is not set, nothing.*HF_HUB_OFFLINE is set; {WAYS}"):
        check_photos()
    with pytest.raises(UserError, match=f"CAPBENCH_IMAGENET is not set, and the hub gave nothing.*; {WAYS}"):
        load_photos("test")


def test_no_data_and_no_access(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match=f"there is no token for the hub; {WAYS}"):
        check_photos()

    asked: list[tuple[str, str]] = []
    answers: list[Exception | None] = [
        GatedRepoError.__new__(GatedRepoError),  # whatever its versions want to be told
        ConnectionError("no route\nat all"),
        None,
    ]

    def answer(_: object, repository: str, repo_type: str) -> None:
        asked.append((repository, repo_type))
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", answer)
    with pytest.raises(UserError, match=f"the token for the hub gives no access to ILSVRC/imagenet-1k; {WAYS}"):
        check_photos()
    with pytest.raises(UserError, match=rf"the hub cannot be reached \(ConnectionError: no route\); {WAYS}"):
        check_photos()
    check_photos()
    assert asked == [("ILSVRC/imagenet-1k", "dataset")] * 3


def test_wrong_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "imagenet"
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_photos()

    refused(f"CAPBENCH_IMAGENET is {folder}, which is no folder; {WAYS}")
    folder.mkdir()
    refused(f"{folder} has no parquet files and no folder train; {WAYS}")
    write_folders(folder)
    check_photos()
    (folder / "val").rename(folder / "moved")
    refused(f"{folder} has no parquet files and no folder val; {WAYS}")
    (folder / "val").mkdir()
    refused(f"{folder}/val has no folders named by wnids; {WAYS}")
    (folder / "val" / "cats").mkdir()
    refused("val/cats is not named by a wnid of imagenet-1k, such as n01440764")
    write_parquet(folder / "data")
    check_photos()
    for file in (folder / "data").glob("validation-*"):
        file.unlink()
    refused(rf"{folder}/data has no validation-\*\.parquet; {WAYS}")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [("label", [0, 1000], "must be 0 to 999, not 0 to 1000"), ("target", [0, 1], "has no column label")],
)
def test_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, values: list[int], message: str
) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    images = [{"bytes": b"", "path": "x"}] * 2
    pq.write_table(pa.table({"image": images, column: values}), tmp_path / "validation-0.parquet")
    with pytest.raises(UserError, match=message):
        load_photos("test")


SWEEP = """
from bench.spec import Sweep, grid

TRIALS = grid(sweep="s", profile="imagenet", model="tiny", pruner="magnitude", patterns=("0.5",))
SWEEP = Sweep(name="s", title="t", profiles={"imagenet": TRIALS})
"""


def test_a_run_without_data_stops_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(zoo.PROFILES, "imagenet", {"tiny": TINY})
    (tmp_path / "s.py").write_text(SWEEP)
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["run", str(tmp_path / "s.py"), "--profile", "imagenet", "--results", str(results)])
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "no imagenet-1k: CAPBENCH_IMAGENET is not set" in line
    assert not list(results.rglob("*.parquet"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_photo_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    write_folders(tmp_path)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    broken = sorted((tmp_path / "val").glob("*/*"))[4]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"image 4 \({broken}\) cannot be decoded"):
        list(TINY.inputs("test").batches(9))


def test_workers_leave_signals_to_their_process(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPBENCH_WORKERS", "1")
    monkeypatch.setattr(decoding, "PIECE", 2)

    def with_worker() -> tuple[Iterator[tuple[Tensor, Tensor]], Any]:
        others = set(multiprocessing.active_children())
        batches = TINY.inputs("train").batches(2)
        next(batches)
        [worker] = set(multiprocessing.active_children()) - others
        return batches, worker

    before = signal.signal(signal.SIGUSR2, lambda *_: (tmp_path / "requeued").touch())  # as submitit's
    try:
        batches, worker = with_worker()
        for name in ("USR2", "TERM", "INT"):
            subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
        assert sum(len(labels) for _, labels in batches) == 22
        assert not (tmp_path / "requeued").exists()
        batches, worker = with_worker()
        worker.terminate()  # as when this process ends
        worker.join(10)
        assert worker.exitcode == 0
        batches.close()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_workers_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPBENCH_WORKERS", "many")
    with pytest.raises(UserError, match="CAPBENCH_WORKERS is 'many': give a number"):
        decoding.workers()
    monkeypatch.delenv("CAPBENCH_WORKERS")
    assert decoding.workers() == torch.get_num_threads()


def test_config_is_that_of_the_weights() -> None:
    assert data_config("deit_tiny_patch16_224.fb_in1k", 224)["crop_pct"] == 0.9
    assert data_config("vit_small_patch14_dinov2.lvd142m", 224)["input_size"] == (3, 224, 224)
    model = timm.create_model(TINY.timm_name)
    assert data_config(TINY.timm_name, 160)["mean"] == model.pretrained_cfg["mean"]
