from __future__ import annotations

import io

import numpy as np
import PIL.Image

from bench.scripts.make_data import balanced_subset, encode_png


def test_balanced_subset_takes_the_first_of_each_class() -> None:
    assert balanced_subset(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    assert (np.asarray(PIL.Image.open(io.BytesIO(encode_png(image)))) == image).all()
