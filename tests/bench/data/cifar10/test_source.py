from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import UserError
from bench.data.cifar10 import load_images, split_sizes
from bench.data.cifar10.inputs import ScaledInputs, stored
from bench.data.inputs import stack_batches

LAYOUTS = ("python", "binary", "parquet", "npz")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images(
    layout: str, cifar10_writer: Any, cifar10_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(cifar10_writer(tmp_path / layout, layout)))
    found = load_images()
    train, labels = (torch.from_numpy(array) for array in cifar10_images("train"))
    held = [4, 9, 14, 19]  # every fifth
    rest = [index for index in range(20) if index not in held]
    for split, images, classes in (
        ("train", train[rest], labels[rest]),
        ("validation", train[held], labels[held]),
        ("test", *(torch.from_numpy(array) for array in cifar10_images("test"))),
    ):
        assert found.splits[split].images.equal(images.permute(0, 3, 1, 2))
        assert found.splits[split].labels.equal(classes.long())
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(cifar10_writer(tmp_path / "other", "npz")))
    assert load_images().checksum == found.checksum, "of pixels and labels, whatever the files"
    assert "a part of CIFAR-10: train 16, validation 4, test 10 images" in str(found)


def test_inputs_are_scaled(cifar10: Path, cifar10_images: Any) -> None:
    inputs = ScaledInputs(load_images().splits["test"])
    images, labels = stack_batches(inputs, 4)
    expected = (torch.from_numpy(cifar10_images("test")[0]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(images, expected)
    assert labels.tolist() == list(range(10))
    some = stack_batches(inputs.subset(3, seed=1))[0]
    assert some.equal(stack_batches(inputs.subset(3, seed=1))[0])
    assert not some.equal(stack_batches(inputs.subset(3, seed=2))[0])
    picture = stored(inputs.split).rows[3]["image"]
    assert np.array_equal(np.asarray(picture), cifar10_images("test")[0][3])


def test_sizes_are_those_of_the_copy(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(split_sizes()) == {"train": 16, "validation": 4, "test": 10}
    monkeypatch.delenv("CAPBENCH_CIFAR10")
    assert dict(split_sizes()) == {"train": 40_000, "validation": 10_000, "test": 10_000}
    assert split_sizes().get("calibration") is None


WAYS = r"set CAPBENCH_CIFAR10 to a folder with cifar-10-batches-py.*torchvision\.datasets\.CIFAR10.*docs/resnet20\.md"


def test_missing_data_are_named_with_the_ways_to_provide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPBENCH_CIFAR10", raising=False)
    with pytest.raises(UserError, match=f"no cifar-10: CAPBENCH_CIFAR10 is not set; {WAYS}"):
        load_images()
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=f"nowhere, which is no folder; {WAYS}"):
        load_images()
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(tmp_path))
    with pytest.raises(UserError, match=f"has it in no layout that is known; {WAYS}"):
        load_images()


class Planted:
    def __reduce__(self) -> Any:
        return print, ("run",)


def rewrite(folder: Path, name: str, content: object) -> None:
    (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=2))


def break_pickle(folder: Path) -> None:
    rewrite(folder, "data_batch_3", {b"data": Planted(), b"labels": []})


def other_shape(folder: Path) -> None:
    rewrite(folder, "test_batch", {b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]})


def other_class(folder: Path) -> None:
    rewrite(folder, "test_batch", {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]})


def fewer_labels(folder: Path) -> None:
    rewrite(folder, "test_batch", {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]})


def cut_off(folder: Path) -> None:
    file = folder / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-7])


def no_batch(folder: Path) -> None:
    (folder / "data_batch_2.bin").unlink()


def no_test(folder: Path) -> None:
    next(folder.glob("test*.parquet")).unlink()


def no_parquet(folder: Path) -> None:
    next(folder.glob("test*.parquet")).write_bytes(b"no parquet")


def other_arrays(folder: Path) -> None:
    np.savez(folder / "sample.npz", x=np.zeros(3))


def floats(folder: Path) -> None:
    np.savez(folder / "sample.npz", train_images=np.zeros((2, 32, 32, 3)), train_labels=np.zeros(2, int))


def two_files(folder: Path) -> None:
    np.savez(folder / "another.npz", x=np.zeros(3))


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("python", break_pickle, r"data_batch_3 is no file of CIFAR-10, pickles .*it asks for \w+.print"),
        ("python", other_shape, "test_batch is no file of CIFAR-10, pickles .*cannot reshape"),
        ("python", other_class, "test_batch .*a label 10, but classes are 0 to 9"),
        ("python", fewer_labels, r"test_batch .*labels \(1,\) of int64 for 2 images"),
        ("binary", cut_off, "data_batch_2.bin is no file of CIFAR-10, binary records"),
        ("binary", no_batch, "data_batch_2.bin is missing, though data_batch_1.bin is there"),
        ("parquet", no_test, "has parquet files of the hub, but none to test; set CAPBENCH_CIFAR10"),
        ("parquet", no_parquet, "test-00000-of-00001.parquet is no file of CIFAR-10, parquet files"),
        ("npz", other_arrays, "sample.npz is no file of CIFAR-10, arrays of numpy: KeyError.*train_images"),
        ("npz", floats, r"sample.npz .*images \(2, 32, 32, 3\) of float64, not \(n, 32, 32, 3\) of uint8"),
        ("npz", two_files, "has another.npz and sample.npz: leave the one with CIFAR-10"),
    ],
)
def test_bad_files_are_told_in_one_line(
    layout: str, change: Any, message: str, cifar10_writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cifar10_writer(tmp_path / "copy", layout)
    change(folder)
    monkeypatch.setenv("CAPBENCH_CIFAR10", str(folder))
    with pytest.raises(UserError, match=message) as caught:
        load_images()
    assert "\n" not in str(caught.value)
