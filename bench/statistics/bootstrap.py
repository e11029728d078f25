"""Two-level bootstrap: dense seeds and test images, crossed, since all seeds see the same images.

Owen (2007, arXiv 0712.1111) resamples rows and columns of a matrix apart. Of n seeds n - 1 are drawn (McCarthy and
Snowden, 1985, Vital and Health Statistics 2:95): drawing n would make the variance between few seeds too small by the
factor (n - 1) / n, a third with three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.statistics.estimate import Estimate

RESAMPLES = 2000
Statistic = Callable[..., "float | np.ndarray"]


@dataclass(frozen=True)
class Resampling:
    """Weights of seeds and images in every resample; the same for all quantities that are to be compared.

    Attributes:
        seeds: Weights of the seeds, (resamples, n); each row sums to 1. None for a single seed.
        images: Number of times that each image is drawn, (resamples, m).
    """

    seeds: np.ndarray | None
    images: np.ndarray


def draw_resampling(num_seeds: int, num_images: int, resamples: int = RESAMPLES, seed: int = 0) -> Resampling:
    """Draws seeds and images with replacement.

    Args:
        num_seeds: Number n of dense seeds.
        num_images: Number m of test images.
        resamples: Number of resamples.
        seed: Seed of the draw.
    """
    generator = np.random.default_rng(seed)
    images = np.empty((resamples, num_images), np.uint16)
    for row in images:
        row[:] = np.bincount(generator.integers(num_images, size=num_images), minlength=num_images)
    if num_seeds < 2:
        return Resampling(None, images)
    counts = generator.multinomial(num_seeds - 1, np.full(num_seeds, 1 / num_seeds), size=resamples)
    return Resampling(counts / (num_seeds - 1), images)


def relative_drop(pruned: float | np.ndarray, dense: float | np.ndarray) -> float | np.ndarray:
    """Returns the loss of accuracy in percent of the dense model's."""
    return 100 * (1 - pruned / dense)


def difference(one: float | np.ndarray, other: float | np.ndarray) -> float | np.ndarray:
    """Returns how much more accurate one is than the other, percentage points of fractions."""
    return 100 * (one - other)


@dataclass(frozen=True)
class ResampledMeans:
    """Means of a sample, and of its resamples.

    Attributes:
        seeds: Mean of every seed over all images, (n,).
        images: Mean of every seed over the images of every resample, (resamples, n).
    """

    seeds: np.ndarray
    images: np.ndarray


def resampled_means(samples: Sequence[np.ndarray], resampling: Resampling) -> list[ResampledMeans]:
    """Returns the means of samples; of many at once it takes a fraction of the time that it takes one by one.

    Args:
        samples: Values of every seed on every image, (n, m) each, such as 1 where the class is right; seeds and images
            in the same order in all.
        resampling: Resampling of n seeds and m images.

    Raises:
        ValueError: If the samples have not the shape that the resampling is for.
    """
    drawn = resampling.images
    seeds = 1 if resampling.seeds is None else resampling.seeds.shape[1]
    if stray := [one.shape for one in samples if one.shape != (seeds, drawn.shape[1])]:
        raise ValueError(f"a sample is {stray[0]}, but seeds and images are drawn of {(seeds, drawn.shape[1])}")
    if not samples:
        return []
    if seeds == 1:
        return [ResampledMeans(one.mean(1), np.empty((0, 1))) for one in samples]
    values = np.concatenate([one.T for one in samples], axis=1).astype(np.float64)  # (m, n x samples)
    chunks = np.array_split(drawn, max(1, drawn.size // 2**22))  # 32 MiB in double precision at a time
    images = np.concatenate([chunk.astype(np.float64) @ values for chunk in chunks]) / drawn.shape[1]
    parts = np.split(images, len(samples), axis=1)
    return [ResampledMeans(one.mean(1), part) for one, part in zip(samples, parts, strict=True)]


def two_level(statistic: Statistic, samples: Sequence[np.ndarray], resampling: Resampling) -> Estimate:
    """Returns a function of means over seeds and images, with its standard error by the two-level bootstrap.

    Args:
        statistic: Function of one mean for each sample; of arrays as of numbers, such as `relative_drop`.
        samples: Values of every seed on every image, see `resampled_means`.
        resampling: Resampling of n seeds and m images.

    Raises:
        ValueError: If the samples have not the shape that the resampling is for.
    """
    return estimate_of_means(statistic, resampled_means(samples, resampling), resampling)


def estimate_of_means(statistic: Statistic, means: Sequence[ResampledMeans], resampling: Resampling) -> Estimate:
    """Returns what `two_level` does, of samples whose means are there.

    The degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2, 110-114) for the sum of the variances that
    seeds alone and images alone give.

    Args:
        statistic: Function of one mean for each sample; of arrays as of numbers.
        means: Means of the samples, as `resampled_means` returns them.
        resampling: Resampling that they were made with.
    """
    value = float(statistic(*(one.seeds.mean() for one in means)))
    if resampling.seeds is None:
        return Estimate(value, math.nan, math.nan, 1)
    seeds = resampling.seeds.shape[1]
    both = statistic(*((one.images * resampling.seeds).sum(1) for one in means))
    seeds_alone = statistic(*(resampling.seeds @ one.seeds for one in means))
    images_alone = statistic(*(one.images.mean(1) for one in means))
    total, of_seeds, of_images = (float(np.var(found, ddof=1)) for found in (both, seeds_alone, images_alone))
    if total < 1e-20 * max(1.0, value**2):  # the same on every image and seed: rounding alone
        return Estimate(value, 0.0, seeds - 1, seeds)
    parts = of_seeds**2 / (seeds - 1) + of_images**2 / max(1, resampling.images.shape[1] - 1)
    degrees = (of_seeds + of_images) ** 2 / parts
    return Estimate(value, math.sqrt(total), degrees, seeds, min(of_images, total))
