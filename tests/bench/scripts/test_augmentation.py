from __future__ import annotations

import torch

from bench.data.fashion_mnist import load_split
from bench.scripts.augmentation import Augmentation, augment, random_crops


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


def test_crops_lie_within_the_image_and_are_not_flipped() -> None:
    ramp = torch.arange(28.0).div(27).expand(200, 1, 28, 28)
    crops = random_crops(ramp, (0.25, 0.64), 28, torch.Generator().manual_seed(0), jitter=0.0)
    steps = crops.diff(dim=3)[..., 1:-1]
    assert (steps > 0).all(), "brighter to the right, as before"
    side = steps.mean((1, 2, 3)) * 27
    assert 0.5 - 1e-3 <= side.min() < 0.55
    assert 0.75 < side.max() <= 0.8 + 1e-3
    whole = random_crops(ramp, (1.0, 1.0), 28, torch.Generator().manual_seed(0), jitter=0.0)
    torch.testing.assert_close(whole, ramp, rtol=0, atol=1e-5)
