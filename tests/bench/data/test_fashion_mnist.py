from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset

from bench import assets
from bench.core.errors import UserError
from bench.data.fashion_mnist import CLASSES, DATASET, SPLIT_FILES, check_files, load_split, split_file, to_input


def test_embedded_data_set() -> None:
    train, test = load_split("train"), load_split("test")
    assert DATASET == "fashion-mnist"
    assert test.images.shape == (10_000, 1, 28, 28)
    assert train.images.dtype == torch.uint8
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.labels.bincount().tolist() == [2700] * 10
    sizes = sum((assets.ASSETS / split_file(split)).stat().st_size for split in ("train", "test"))
    assert sizes <= 15e6


def test_no_image_is_in_two_splits() -> None:
    images = {split: {image.numpy().tobytes() for image in load_split(split).images} for split in SPLIT_FILES}
    assert not images["train"] & images["test"]
    assert not images["validation"] & images["train"]
    assert not images["validation"] & images["test"]


def test_validation_images_are_as_many_of_each_class() -> None:
    split = load_split("validation")
    assert split.images.shape == (10_000, 1, 28, 28)
    assert split.labels.bincount().tolist() == [1000] * 10


def test_an_unknown_split_is_told() -> None:
    with pytest.raises(UserError, match="no split 'valid': choose from train, test, validation"):
        load_split("valid")


@pytest.mark.parametrize(("split", "digest"), [("train", "be526d622b99"), ("test", "09a00545526f")])
def test_the_splits_that_results_were_made_with_are_as_they_were(split: str, digest: str) -> None:
    assert assets.checksums()[split_file(split)].startswith(digest)


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
