from __future__ import annotations

import io

import numpy as np
import PIL.Image

from bench.scripts.make_data import balanced_subset, encode_png, split_indices


def test_balanced_subset_takes_the_first_of_each_class() -> None:
    assert balanced_subset(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]


def test_validation_takes_the_next_images_of_each_class() -> None:
    labels = np.array([1, 0, 1, 1, 0, 0])
    assert balanced_subset(labels, 1, skip=1).tolist() == [2, 4]
    many = np.tile(np.arange(10), 5000)
    train, validation = split_indices("train", many), split_indices("validation", many)
    assert (len(train), len(validation)) == (27_000, 10_000)
    assert validation.min() == train.max() + 1, "of classes in turn the first image after the last"
    assert split_indices("test", many).tolist() == list(range(50_000))


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert (np.asarray(PIL.Image.open(io.BytesIO(encode_png(image)))) == image).all()
