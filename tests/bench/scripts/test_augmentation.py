from __future__ import annotations

import torch

from bench.data.fashion_mnist import load_split
from bench.scripts.augmentation import Augmentation, augment


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
