from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.schema import SCHEMA
from cap.patterns import parse_pattern

DENSE = 90.0


class Make(Protocol):
    def __call__(self, pruner: str, pattern: str, top1: list[float], **values: Any) -> list[dict[str, Any]]: ...


@pytest.fixture
def make() -> Make:
    """Makes the rows of one pruner at one pattern, a seed for each value of top-1; `options`, `recipe` are dicts."""

    def rows(pruner: str, pattern: str, top1: list[float], **values: Any) -> list[dict[str, Any]]:
        values = {"model": "vit", "phase": "one_shot", "regime": "one_shot", "options": {}, "recipe": None, **values}
        values.setdefault("family", values["model"])
        options, recipe = values.pop("options"), values.pop("recipe")
        identity = json.dumps([pruner, values["model"], options, recipe, values["regime"]])
        return [
            {
                "status": "done", "pruner": pruner, "pruner_options": json.dumps(options), "seed": seed,
                "recipe": json.dumps(recipe) if recipe else None, "trial_id": f"{identity}{seed}", "pattern": pattern,
                "sparsity_target": parse_pattern(pattern).sparsity, "top1": value, "top1_dense": DENSE,
                "top1_drop": DENSE - value, "top1_rel_drop": 100 * (DENSE - value) / DENSE, "n_images": 10_000,
                "commit": "c0ffee" * 6, "dirty": False, "device": "cpu", **values,
            }
            for seed, value in enumerate(top1)
        ]  # fmt: skip

    return rows


@pytest.fixture
def frame() -> Any:
    """Joins rows into a table of the store's columns."""
    return lambda *parts: pd.DataFrame([row for part in parts for row in part], columns=SCHEMA.names)


class Photos:
    """ImageNet-1k in small: the same few photos in every layout that a user may have.

    Attributes:
        labels: Classes that there are.
        root: Folder with one folder for each layout: `parquet`, `hub`, `folders` and `shards`.
    """

    labels = (3, 7, 998)
    counts = {"train": 8, "test": 5}  # images of each class  # noqa: RUF012

    def __init__(self, root: Path) -> None:
        from timm.data import ImageNetInfo

        self.root = root
        self.wnids = sorted(ImageNetInfo("imagenet-1k").label_names())
        self._write_parquet(root / "parquet")
        self._write_as_the_hub(root / "hub" / "data")
        self._write_folders(root / "folders")
        self._write_shards(root / "shards")

    def stored(self, split: str) -> list[tuple[int, bytes]]:
        """The labels and files of a split, sorted by class and name."""
        return [(label, photo(split, label, number)) for label in self.labels for number in range(self.counts[split])]

    def copy(self, layout: str, to: Path) -> Path:
        """Copies a layout, for a test that changes it."""
        return Path(shutil.copytree(self.root / layout, to, dirs_exist_ok=True))

    def _parts(self, split: str) -> list[tuple[str, list[tuple[int, bytes]]]]:
        rows, name = self.stored(split), {"train": "train", "test": "validation"}[split]
        halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
        return [(f"{name}-{part:05d}-of-00002.parquet", some) for part, some in enumerate(halves)]

    def _write_parquet(self, folder: Path) -> None:
        """Without a library that knows images."""
        folder.mkdir(parents=True)
        schema = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for split in self.counts:
            for name, rows in self._parts(split):
                images = [{"bytes": content, "path": f"{n}.JPEG"} for n, (_, content) in enumerate(rows)]
                labels = pa.array([label for label, _ in rows], pa.int64())
                pq.write_table(pa.table({"image": pa.array(images, schema), "label": labels}), folder / name)

    def _write_as_the_hub(self, folder: Path) -> None:
        from datasets import ClassLabel, Dataset, Features, Image

        folder.mkdir(parents=True)
        features = Features({"image": Image(), "label": ClassLabel(names=[f"class {n}" for n in range(1000)])})
        for split in self.counts:
            for name, rows in self._parts(split):
                images = [{"bytes": content, "path": f"{n}.JPEG"} for n, (_, content) in enumerate(rows)]
                columns = {"image": images, "label": [label for label, _ in rows]}
                Dataset.from_dict(columns, features=features).to_parquet(folder / name)

    def _write_shards(self, folder: Path) -> None:
        """As the webdataset package writes them: a sample's files one after another, and one that nobody asks for."""
        folder.mkdir(parents=True)
        number = 0
        for split in self.counts:
            for part, (_, rows) in enumerate(self._parts(split)):
                name = {"train": "train", "test": "validation"}[split]
                with tarfile.open(folder / f"imagenet1k-{name}-{part:04d}.tar", "w") as shard:
                    for label, content in rows:
                        for ending, file in (("cls", str(label).encode()), ("jpg", content), ("json", b"{}")):
                            member = tarfile.TarInfo(f"{number:06d}.{ending}")
                            member.size = len(file)
                            shard.addfile(member, io.BytesIO(file))
                        number += 1

    def _write_folders(self, folder: Path) -> None:
        for split, name in (("train", "train"), ("test", "val")):
            for number, (label, content) in enumerate(self.stored(split)):
                place = folder / name / self.wnids[label]
                place.mkdir(parents=True, exist_ok=True)
                (place / f"ILSVRC2012_{number:08d}.JPEG").write_bytes(content)


def photo(split: str, label: int, number: int) -> bytes:
    """Returns a file; none is square, and some are grey, CMYK, or a PNG with transparency."""
    draw = np.random.default_rng([split == "train", label, number])
    height, width = draw.integers(50, 90, 2)
    channels, mode = {1: (1, "L"), 2: (4, "CMYK"), 3: (4, "RGBA")}.get(number, (3, "RGB"))
    coarse = PIL.Image.fromarray(draw.integers(0, 256, (5, 6, channels), dtype=np.uint8).squeeze(), mode)
    file = io.BytesIO()
    coarse.resize((int(width), int(height))).save(file, "PNG" if mode == "RGBA" else "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """The photos, which nobody changes."""
    return Photos(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, no data and weights, no caches but the test's own, images decoded by this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    monkeypatch.setenv("CAPBENCH_CACHE", str(tmp_path / "capbench"))


@pytest.fixture
def imagenet_folders(photos: Photos, no_network: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The photos as folders of classes, where the environment says."""
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(photos.root / "folders"))
    return photos.root / "folders"


CLASSES = ("cat", "dog", "owl")


def write_pictures(folder: Path, count: int = 10, start: int = 0) -> Path:
    """Writes folders of classes with random pictures; those of other numbers differ."""
    for cls, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            pixels = np.random.default_rng([cls, number]).integers(0, 256, (24, 20, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def pictures() -> Any:
    """Function that writes folders of classes: (folder, images of each class, number of the first)."""
    return write_pictures


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nobody changes: `photos` of three classes, weights `net.safetensors` of timm's test_resnet."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("own")
    write_pictures(folder / "photos")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), folder / "net.safetensors")
    save_file(timm.create_model("test_resnet", num_classes=5).state_dict(), folder / "five.safetensors")
    save_file(timm.create_model("test_vit", num_classes=3).state_dict(), folder / "vit.safetensors")
    return folder


def cifar10_part(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images (n, 32, 32, 3) and labels (n,) in the place of CIFAR-10's: 20 to train, 10 to test."""
    count = {"train": 20, "test": 10}[part]
    draw = np.random.default_rng([part == "train"])
    return draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10


def write_cifar10(folder: Path, layout: str) -> Path:
    """Writes the random images in a layout of CIFAR-10, `python`, `binary`, `parquet` or `npz`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "npz":
        values = {f"{part}_{name}": array for part in ("train", "test")
                  for name, array in zip(("images", "labels"), cifar10_part(part), strict=True)}  # fmt: skip
        np.savez(folder / "sample.npz", **values)
    for part in ("train", "test"):
        images, labels = cifar10_part(part)
        flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        names = [f"data_batch_{number}" for number in range(1, 6)] if part == "train" else ["test_batch"]
        for name, rows in zip(names, np.split(np.arange(len(images)), len(names)), strict=True):
            if layout == "python":
                place = folder / "cifar-10-batches-py"
                place.mkdir(exist_ok=True)
                content = {b"batch_label": b"", b"labels": labels[rows].tolist(), b"data": flat[rows]}
                (place / name).write_bytes(pickle.dumps(content, protocol=2))
            if layout == "binary":
                (folder / f"{name}.bin").write_bytes(np.hstack([labels[rows, None], flat[rows]]).tobytes())
        if layout == "parquet":
            _write_cifar10_parquet(folder / f"{part}-00000-of-00001.parquet", images, labels)
    return folder


def _write_cifar10_parquet(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    from datasets import ClassLabel, Dataset, Features, Image

    features = Features({"img": Image(), "label": ClassLabel(num_classes=10)})
    pictures = [PIL.Image.fromarray(image) for image in images]
    Dataset.from_dict({"img": pictures, "label": labels.tolist()}, features=features).to_parquet(file)


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random images in the place of CIFAR-10's, where the environment says."""
    folder = write_cifar10(tmp_path / "cifar10", "npz")
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(folder))
    return folder


@pytest.fixture(scope="session")
def cifar10_writer() -> Any:
    """Function that writes the random images: (folder, layout)."""
    return write_cifar10


@pytest.fixture(scope="session")
def cifar10_images() -> Any:
    """Function that returns the random images and labels of a part."""
    return cifar10_part
