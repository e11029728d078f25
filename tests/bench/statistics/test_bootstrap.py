"""Against enumeration of all resamples, the closed form of crossed variances, scipy's bootstrap, and coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.bootstrap import (
    difference,
    draw_resampling,
    estimate_of_means,
    relative_drop,
    resampled_means,
    two_level,
)


def enumerated(statistic, samples) -> float:
    """Returns the variance over every draw of n - 1 seeds and of m images, all equally likely."""
    n, m = samples[0].shape
    found = [
        statistic(*(one[np.ix_(seeds, images)].mean() for one in samples))
        for seeds in itertools.product(range(n), repeat=n - 1)
        for images in itertools.product(range(m), repeat=m)
    ]
    return float(np.var(found))


@pytest.mark.parametrize("statistic", [difference, relative_drop])
def test_error_is_that_of_all_resamples(statistic) -> None:
    pruned = np.array([[1, 0, 2, 1], [1, 1, 0, 2], [2, 1, 0, 1]], float)
    dense = pruned + np.array([[2, 3, 2, 4], [2, 2, 3, 3], [3, 2, 2, 3]])
    found = two_level(statistic, (pruned, dense), draw_resampling(3, 4, 20_000))
    assert found.error == pytest.approx(math.sqrt(enumerated(statistic, (pruned, dense))), rel=0.02)
    assert found.value == pytest.approx(statistic(pruned.mean(), dense.mean()))


def test_parts_are_the_variances_of_seeds_and_of_images() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(4, 1)) + generator.normal(size=(4, 100))
    found = two_level(lambda mean: mean, (values,), draw_resampling(4, 100, 20_000))
    of_seeds, of_images = values.mean(1).var(ddof=1) / 4, values.mean(0).var() / 100
    assert found.image_variance == pytest.approx(of_images, rel=0.05)
    degrees = (of_seeds + of_images) ** 2 / (of_seeds**2 / 3 + of_images**2 / 99)
    assert found.degrees == pytest.approx(degrees, rel=0.1)
    weight = np.full((4, 4), -1 / 4) + np.eye(4)  # covariance of the weights of seeds: this over n (n - 1)
    product = values - values.mean(1, keepdims=True)
    both = of_seeds + of_images + np.trace(weight @ product @ product.T) / (12 * 100**2)
    assert found.error == pytest.approx(math.sqrt(both), rel=0.03)


def test_images_alone_are_scipys_bootstrap() -> None:
    right = np.random.default_rng(0).random((1, 500)) < 0.9
    found = two_level(lambda mean: mean, (np.repeat(right, 3, axis=0),), draw_resampling(3, 500))
    known = stats.bootstrap((right[0],), np.mean, n_resamples=2000, rng=np.random.default_rng(0)).standard_error
    assert found.error == pytest.approx(known, rel=0.06)
    assert found.degrees > 400


@pytest.mark.parametrize(("of_seeds", "of_images"), [(1.0, 0.3), (0.02, 1.0), (0.05, 1.0)])
def test_intervals_cover_the_truth_with_three_seeds(of_seeds: float, of_images: float) -> None:
    generator, resampling = np.random.default_rng(2), draw_resampling(3, 100, 300)
    covered = 0
    for _ in range(400):
        values = of_seeds * generator.normal(size=(3, 1)) + of_images * generator.normal(size=(1, 100))
        low, high = two_level(
            lambda mean: mean, (values + 0.1 * generator.normal(size=(3, 100)),), resampling
        ).interval()
        covered += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 1.0


def test_one_seed_has_no_error_and_shapes_must_fit() -> None:
    found = two_level(relative_drop, (np.full((1, 5), 0.8), np.ones((1, 5))), draw_resampling(1, 5, 10))
    assert found.value == pytest.approx(20)
    assert math.isnan(found.error)
    with pytest.raises(ValueError, match=r"a sample is \(2, 5\), but seeds and images are drawn of \(3, 5\)"):
        two_level(difference, (np.ones((2, 5)),) * 2, draw_resampling(3, 5, 10))


def test_no_difference_anywhere_has_no_error() -> None:
    right = np.random.default_rng(0).random((3, 50)) < 0.8
    found = two_level(difference, (right, right), draw_resampling(3, 50, 50))
    assert (found.value, found.error, found.interval()) == (0, 0, (0, 0))


def test_the_same_seed_draws_the_same() -> None:
    one, again, other = draw_resampling(3, 9, 5), draw_resampling(3, 9, 5), draw_resampling(3, 9, 5, seed=1)
    assert (one.images == again.images).all()
    assert (one.images != other.images).any()
    assert (one.images.sum(1) == 9).all()
    assert one.seeds is not None
    assert one.seeds.sum(1) == pytest.approx(1)


def test_many_samples_at_once_are_the_same_as_one_by_one() -> None:
    generator, resampling = np.random.default_rng(3), draw_resampling(3, 40, 50)
    samples = [generator.random((3, 40)) < 0.8, generator.random((3, 40)) < 0.7, generator.random((3, 40))]
    for sample, means in zip(samples, resampled_means(samples, resampling), strict=True):
        assert means.seeds == pytest.approx(sample.mean(1))
        assert means.images[7] == pytest.approx(np.average(sample, axis=1, weights=resampling.images[7]))
    means = resampled_means(samples[:2], resampling)
    assert estimate_of_means(difference, means, resampling) == two_level(difference, samples[:2], resampling)
