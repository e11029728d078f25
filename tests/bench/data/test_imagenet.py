"""How photos become inputs: all kinds of files in every layout, whatever the number of workers and processes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from timm.data import ImageNetInfo
from torch import Tensor

from bench.core.errors import UserError
from bench.data import imagenet
from bench.data.augmentation import AUGMENTATION_SETS
from bench.data.imagenet import decoding
from bench.data.imagenet.stream import share
from bench.data.imagenet.transforms import data_config, training_transform
from bench.data.inputs import stack_batches
from bench.data.seeding import temporarily_seeded
from bench.models.imagenet import ImageNetModel
from bench.scripts import prepare_imagenet
from bench.specs.recipes import FinetuneSpec

LABELS = (3, 7, 998)
COUNTS = {"train": 8, "test": 5}  # images of each class
WNIDS = sorted(ImageNetInfo("imagenet-1k").label_names())
SIZE = 48


TINY = ImageNetModel(
    name="tiny", family="vit", timm_name="test_vit.r160_in1k", prunable=(r".*mlp.fc\d.weight",), input_size=SIZE
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
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no cache but the test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.delenv("CAPBENCH_IMAGENET", raising=False)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")


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
    imagenet.check_data()
    for split in ("train", "test"):
        images, labels = stack_batches(TINY.inputs(split), batch_size=4)
        assert labels.tolist() == [label for label, _ in stored(split)]
        torch.testing.assert_close(images, torch.stack([by_hand(content) for _, content in stored(split)]))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_order_and_subset(folders: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 3)
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    inputs = TINY.inputs("train")
    images, labels = stack_batches(inputs)
    order = torch.tensor([20, 3, 11, 0, 7])
    batches = list(inputs.batches(4, order))
    assert [len(some) for some, _ in batches] == [4, 1]
    assert torch.cat([some for some, _ in batches]).equal(images[order])
    assert torch.cat([some for _, some in batches]).equal(labels[order])
    one, again, other = (stack_batches(inputs.subset(6, seed)) for seed in (0, 0, 1))
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
        return list(TINY.training_stream(training(augmentation), seed).epoch(number)), torch.rand(3)

    one, drawn = epoch(5, 1, workers=0)
    assert [len(labels) for _, labels in one] == [10, 10, 4]
    assert all(inputs.shape[1:] == (3, SIZE, SIZE) and inputs.isfinite().all() for inputs, _ in one)
    monkeypatch.setattr(decoding, "CHUNK", 3)
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
    recipe = training(augmentation, images=23)  # the last batch is of 3, which is not mixed
    whole = list(TINY.training_stream(recipe, 5).epoch(1))
    decoded: list[int] = []
    read = decoding.DecodedImages.__getitem__
    monkeypatch.setattr(
        decoding.DecodedImages, "__getitem__", lambda self, index: decoded.append(index) or read(self, index)
    )
    for rank in range(world_size):
        batches = list(TINY.training_stream(recipe, 5, rank, world_size).epoch(1))
        for (inputs, labels), (some, their_labels) in zip(whole, batches, strict=True):
            chosen = share(len(inputs), rank, world_size)
            assert some.equal(inputs[chosen])
            assert their_labels.equal(labels[chosen])
    assert len(decoded) == len(set(decoded)) == 23, "each image is decoded once, by the process that needs it"


def test_training_transform_follows_the_set() -> None:
    config = data_config(TINY.timm_name, SIZE)
    white = PIL.Image.new("RGB", (80, 60), (255, 255, 255))
    light, erasing = (training_transform(training(name, crop=1.0), config) for name in ("light1", "deit"))
    crops = light.transforms[0]
    assert (crops.scale, training_transform(training("light1"), config).transforms[0].scale) == ((1.0, 1.0), (0.08, 1))
    assert "RandomErasing" in str(erasing)
    assert "RandomErasing" not in str(light)
    with temporarily_seeded(0):
        assert light(white).shape == (3, SIZE, SIZE)


def test_random_numbers_of_others_go_on() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = torch.rand(1)
    with temporarily_seeded(2):
        torch.rand(5)
    assert torch.cat([first, torch.rand(1)]).equal(expected)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [("label", [0, 1000], "have labels 0 to 1000: they must be 0 to 999"), ("target", [0, 1], "has no column label")],
)
def test_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, values: list[int], message: str
) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    images = [{"bytes": b"", "path": "x"}] * 2
    pq.write_table(pa.table({"image": images, column: values}), tmp_path / "validation-0.parquet")
    with pytest.raises(UserError, match=message):
        imagenet.load_stored_split("test")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_photo_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    write_folders(tmp_path)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path))
    monkeypatch.setenv("CAPBENCH_WORKERS", workers)
    broken = sorted((tmp_path / "val").glob("*/*"))[4]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"image 4 \({broken}\) cannot be decoded"):
        list(TINY.inputs("test").batches(9))


def test_workers_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPBENCH_WORKERS", "many")
    with pytest.raises(UserError, match="CAPBENCH_WORKERS is 'many': give a number"):
        decoding.num_workers()
    monkeypatch.delenv("CAPBENCH_WORKERS")
    assert decoding.num_workers() == torch.get_num_threads()


def test_the_hub_is_asked_and_may_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nat all")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", no_route)
    with pytest.raises(UserError, match=r"the hub cannot be reached \(ConnectionError: no route\)"):
        imagenet.check_data()


def test_both_splits_can_be_prepared(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_imagenet.main()
    assert capsys.readouterr().out == "train: 24 images\nvalidation: 15 images\n"
