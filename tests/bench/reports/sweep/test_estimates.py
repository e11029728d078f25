from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.reports.sweep.estimates import Accuracy, Estimator, lead_over_best, mean_difference
from bench.results.predictions import Predictions
from bench.statistics.bootstrap import difference, draw_resampling, relative_drop, two_level

IMAGES = 1000


def right(top1: list[float]) -> np.ndarray:
    return np.arange(IMAGES) < np.array(top1)[:, None] * IMAGES / 100


def test_drops_are_those_of_the_two_level_bootstrap(seeded, frame, predicted) -> None:
    rows = frame(seeded("cap", "0.75", [89.0, 88.0, 88.5], phase="finetuned"))
    found = Estimator(predicted(rows)).drop(rows)
    dense = right([90.0] * 3)
    known = two_level(relative_drop, (right([89.0, 88.0, 88.5]), dense), draw_resampling(3, IMAGES))
    assert (found.value, found.error, found.degrees) == pytest.approx((known.value, known.error, known.degrees))
    alone = Estimator(Predictions({})).drop(rows)
    low, high = stats.ttest_1samp([(90 - top1) / 0.9 for top1 in (89.0, 88.0, 88.5)], 0).confidence_interval()
    assert alone.interval() == pytest.approx((low, high)), "without predictions by the seeds alone"


def test_states_of_one_dense_seed_are_averaged(seeded, frame, predicted) -> None:
    one = frame(
        seeded("cap", "0.5", [80.0, 82.0], recipe={"lr": 1}), seeded("cap", "0.5", [84.0, 84.0], recipe={"lr": 2})
    )
    other = frame(seeded("magnitude", "0.5", [70.0, 71.0]))
    estimator = Estimator(predicted(frame([*one.to_dict("records"), *other.to_dict("records")])))
    found = estimator.difference([one], [other])
    mean = (right([80.0, 82.0]).astype(float) + right([84.0, 84.0])) / 2
    known = two_level(difference, (mean, right([70.0, 71.0])), draw_resampling(2, IMAGES))
    assert found is not None
    assert (found.value, found.error) == pytest.approx((known.value, known.error))


def test_only_dense_seeds_that_all_have_are_compared(seeded, frame) -> None:
    one, other = frame(seeded("cap", "0.5", [80.0, 82.0, 84.0])), frame(seeded("magnitude", "0.5", [70.0, 71.0]))
    found = Estimator(Predictions({})).difference([one], [other])
    assert found is not None
    assert (found.value, found.units) == (pytest.approx(10.5), 2)
    assert Estimator(Predictions({})).difference([one], [other.assign(dense_seed=7)]) is None


def test_statistics_of_several_models() -> None:
    assert mean_difference(0.9, 0.8, 0.7, 0.75) == pytest.approx(12.5)
    tops = (
        np.array([0.9, 0.8]),
        np.array([0.7, 0.6]),
        np.array([0.5, 0.7]),
        np.array([0.5, 0.5]),
        np.array([0.3, 0.2]),
    )
    # 0.9 - max(0.7, 0.5), 0.8 - max(0.6, 0.7); 0.5 - 0.3, 0.5 - 0.2
    assert lead_over_best([3, 2])(*tops) == pytest.approx([20.0, 20.0])


def test_loading_many_at_once_changes_nothing(seeded, frame, predicted) -> None:
    rows = frame(seeded("cap", "0.5", [89.0, 88.0, 88.5]))
    loaded, plain = Estimator(predicted(rows)), Estimator(predicted(rows))
    loaded.load([Accuracy.of(rows), Accuracy.of(rows, dense=True)])
    assert loaded.drop(rows) == plain.drop(rows)
