"""Augmentation of image batches, on tensors and under an explicit random generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.config import Spec


class Augmentation(Spec):
    """Strengths of the random changes to each training image.

    Attributes:
        shift: Largest translation, pixels in each direction (whole pixels where nothing is rotated or scaled).
        rotation: Largest rotation, degrees.
        scale: Largest relative change of size.
        flip: Probability of a horizontal flip.
        jitter: Largest relative change of brightness and of contrast.
        erasing: Probability that a random rectangle is filled with noise.
    """

    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0
    flip: float = 0.0
    jitter: float = 0.0
    erasing: float = 0.0


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def warp(images: Tensor, theta: Tensor, size: int | None = None) -> Tensor:
    """Resamples images (n, c, h, w) under affine maps (n, 2, 3) from output to input coordinates in [-1, 1]."""
    n, c, h, w = images.shape
    grid = F.affine_grid(theta, [n, c, size or h, size or w], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def augment(images: Tensor, strengths: Augmentation, generator: torch.Generator) -> Tensor:
    """Returns changed copies of images.

    Args:
        images: Images (n, channels, size, size), float in [0, 1].
        strengths: Strengths of the changes.
        generator: Only source of randomness.
    """
    n, size = len(images), images.shape[-1]
    angle = _uniform(n, -strengths.rotation, strengths.rotation, generator).deg2rad()
    zoom = 1 / (1 + _uniform(n, -strengths.scale, strengths.scale, generator))
    shift = (
        _uniform(2 * n, -strengths.shift - 0.5, strengths.shift + 0.5, generator)
        .round()
        .clamp(-strengths.shift, strengths.shift)
    )
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < strengths.flip).float()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * angle.cos() * mirror, -zoom * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = zoom * angle.sin() * mirror, zoom * angle.cos()
    theta[:, :, 2] = shift.view(n, 2) * 2 / size
    images = warp(images, theta)
    if strengths.jitter:
        contrast, brightness = (
            _uniform(n, 1 - strengths.jitter, 1 + strengths.jitter, generator).view(n, 1, 1, 1) for _ in "cb"
        )
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (((images - mean) * contrast + mean) * brightness).clamp(0, 1)
    if strengths.erasing:
        images = _erase(images, strengths.erasing, generator)
    return images


def _erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fills a rectangle of 15 to 50 % of each side with uniform noise in a share of the images."""
    n, _, size, _ = images.shape
    mask = (torch.rand(n, generator=generator) < probability).view(n, 1, 1)
    pixels = torch.arange(size)
    for axis in (1, 2):
        length = _uniform(n, 0.15 * size, 0.5 * size, generator)
        start = torch.rand(n, generator=generator) * (size - length)
        inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])  # (n, size)
        mask = mask & inside.unsqueeze(3 - axis)
    noise = torch.rand(images.shape, generator=generator)
    return torch.where(mask.unsqueeze(1), noise, images)


def random_crops(
    images: Tensor, area: tuple[float, float], size: int, generator: torch.Generator, jitter: float = 0.4
) -> Tensor:
    """Cuts one random square out of each image, jitters and resizes it.

    Args:
        images: Images (n, channels, h, w), float in [0, 1].
        area: Smallest and largest share of the image's area in a crop.
        size: Side of the crops after resizing, pixels.
        generator: Only source of randomness.
        jitter: Largest relative change of brightness and of contrast.
    """
    n, (low, high) = len(images), area
    side = (torch.rand(n, generator=generator) * (high - low) + low).sqrt()
    centre = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = centre
    return augment(warp(images, theta, size), Augmentation(jitter=jitter), generator)


def kept_patches(n: int, patches: int, hidden: float, generator: torch.Generator) -> Tensor:
    """Returns the indices (n, kept) of the patches of each image that a network sees, drawn without replacement.

    Args:
        n: Number of images.
        patches: Number of patches of an image.
        hidden: Share of the patches that it does not see.
        generator: Only source of randomness.
    """
    return torch.rand(n, patches, generator=generator).argsort(1)[:, : round(patches * (1 - hidden))]
