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


def two_level(statistic: Statistic, samples: Sequence[np.ndarray], resampling: Resampling) -> Estimate:
    """Returns a function of means over seeds and images, with its standard error by the two-level bootstrap.

    The degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2, 110-114) for the sum of the variances that
    seeds alone and images alone give.

    Args:
        statistic: Function of one mean for each sample; of arrays as of numbers, such as `relative_drop`.
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
    value = float(statistic(*(one.mean() for one in samples)))
    if resampling.seeds is None:
        return Estimate(value, math.nan, math.nan, 1)
    means = [_image_means(one, drawn) for one in samples]  # (resamples, n)
    both = statistic(*((mean * resampling.seeds).sum(1) for mean in means))
    seeds_alone = statistic(*(resampling.seeds @ one.mean(1) for one in samples))
    images_alone = statistic(*(mean.mean(1) for mean in means))
    total, of_seeds, of_images = (float(np.var(found, ddof=1)) for found in (both, seeds_alone, images_alone))
    if total < 1e-20 * max(1.0, value**2):  # the same on every image and seed: rounding alone
        return Estimate(value, 0.0, seeds - 1, seeds)
    parts = of_seeds**2 / (seeds - 1) + of_images**2 / max(1, drawn.shape[1] - 1)
    degrees = (of_seeds + of_images) ** 2 / parts
    return Estimate(value, math.sqrt(total), degrees, seeds, min(of_images, total))


def _image_means(sample: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Returns the mean of every seed over the images of every resample, (resamples, n).

    Args:
        sample: Values, (n, m).
        drawn: Number of times that each image is drawn, (resamples, m).
    """
    values = sample.T.astype(np.float64)
    chunks = np.array_split(drawn, max(1, drawn.size // 2**22))  # 32 MiB in double precision at a time
    return np.concatenate([chunk.astype(np.float64) @ values for chunk in chunks]) / sample.shape[1]
