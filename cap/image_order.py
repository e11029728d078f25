"""Orders in which calibration images are seen."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def shuffled_batches(images: int, size: int, count: int, seed: int) -> Iterator[Tensor]:
    """Yields batches of indices; each pass over the images is in a new order, and leaves out what fills no batch.

    Args:
        images: Number of images, at least `size`.
        size: Images in a batch.
        count: Number of batches.
        seed: Seed of the orders.
    """
    generator = torch.Generator().manual_seed(seed)
    while count > 0:
        for chosen in torch.randperm(images, generator=generator).split(size)[: images // size][:count]:
            count -= 1
            yield chosen


def turn(images: int, count: int, number: int) -> Tensor:
    """Returns the indices of turn `number` of `count` images each, around all of them.

    >>> turn(5, 2, 0).tolist(), turn(5, 2, 1).tolist(), turn(5, 2, 2).tolist()
    ([0, 1], [2, 3], [4, 0])
    """
    return (torch.arange(count) + number * count) % images


def held_out(images: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the indices of two disjoint parts, of at least one image each.

    Args:
        images: Number of images, at least two.
        fraction: Fraction of them in the second part, in (0, 1).
        seed: Seed of the choice.
    """
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    count = min(max(1, round(fraction * images)), images - 1)
    return order[count:], order[:count]
