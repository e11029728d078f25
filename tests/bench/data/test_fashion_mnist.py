from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset

from bench import assets
from bench.core.errors import UserError
from bench.data.fashion_mnist import CLASSES, DATASET, check_files, load_split, split_file, to_input
from bench.scripts.augmentation import Augmentation, augment
from bench.scripts.make_data import balanced_subset, encode_png


def test_embedded_data_set() -> None:
    train, test = load_split("train"), load_split("test")
    assert DATASET == "fashion-mnist"
    assert test.images.shape == (10_000, 1, 28, 28)
    assert train.images.dtype == torch.uint8
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.labels.bincount().tolist() == [2700] * 10
    sizes = sum((assets.ASSETS / split_file(split)).stat().st_size for split in ("train", "test"))
    assert sizes <= 15e6


def test_no_test_image_is_a_training_image() -> None:
    train = {image.numpy().tobytes() for image in load_split("train").images}
    shared = sum(image.numpy().tobytes() in train for image in load_split("test").images)
    assert shared == 0


def test_layout_is_that_of_the_datasets_library(tmp_path: Path) -> None:
    rows = load_dataset(
        "parquet", data_files=str(assets.ASSETS / split_file("test")), split="train", cache_dir=str(tmp_path)
    )
    assert rows.features["label"].names == list(CLASSES)
    image = np.asarray(rows[3]["image"])
    assert (image == load_split("test").images[3, 0].numpy()).all()


def test_damage_and_loss_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    assets.verified.cache_clear()
    with pytest.raises(UserError, match="is missing"):
        check_files()
    (tmp_path / "fashion_mnist").mkdir()
    (tmp_path / split_file("train")).write_bytes(b"rubbish")
    with pytest.raises(UserError, match="is damaged"):
        check_files()
    monkeypatch.undo()
    assets.verified.cache_clear()
    check_files()


def test_subset_and_batches() -> None:
    split = load_split("test")
    one, again, other = split.subset(64, 0), split.subset(64, 0), split.subset(64, 1)
    assert one.images.equal(again.images)
    assert not one.images.equal(other.images)
    assert [len(labels) for _, labels in one.batches(30)] == [30, 30, 4]
    order = torch.tensor([5, 3, 1])
    [(images, _)] = one.batches(8, order)
    assert images.equal(one.images[order])


def test_input_is_normalised_and_padded() -> None:
    images = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    inputs = to_input(images, 32)
    assert inputs.shape == (2, 1, 32, 32)
    assert inputs[0, 0, 16, 16] == pytest.approx((1 - 0.2860) / 0.3530)
    assert inputs[0, 0, 0, 0] == pytest.approx((0 - 0.2860) / 0.3530)
    assert to_input(images.float() / 255, 32).equal(inputs)


def test_augmentation_of_nothing_changes_nothing() -> None:
    images = load_split("test").images[:8].float() / 255
    torch.testing.assert_close(augment(images, Augmentation(), torch.Generator()), images, rtol=0, atol=1e-5)


def test_shift_moves_whole_pixels_within_bounds() -> None:
    image = torch.zeros(64, 1, 9, 9)
    image[:, 0, 4, 4] = 1
    moved = augment(image, Augmentation(shift=2), torch.Generator().manual_seed(0))
    places = {tuple(p) for p in (moved[:, 0] > 0.99).nonzero()[:, 1:].tolist()}
    assert len((moved > 0.99).nonzero()) == 64
    assert {row for row, _ in places} == {column for _, column in places} == {2, 3, 4, 5, 6}


def test_augmentation_repeats_under_its_generator() -> None:
    images = torch.rand(16, 1, 28, 28)
    everything = Augmentation(shift=2, rotation=10, scale=0.1, flip=0.5, jitter=0.2, erasing=0.5)
    one, again, other = (augment(images, everything, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.equal(again)
    assert not one.equal(other)
    assert one.shape == images.shape


def test_balanced_subset_takes_the_first_of_each_class() -> None:
    assert balanced_subset(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]


def test_png_is_lossless() -> None:
    import io

    import PIL.Image

    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert (np.asarray(PIL.Image.open(io.BytesIO(encode_png(image)))) == image).all()
