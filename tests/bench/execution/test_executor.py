from __future__ import annotations

from collections.abc import Callable

from bench.execution.executor import group_by_calibration
from bench.specs.trial import Trial


def test_trials_that_share_their_calibration_images_are_a_group(make_trial: Callable[..., Trial]) -> None:
    trials = [make_trial(seed=0), make_trial(seed=1), make_trial("sparsegpt"), make_trial("sparsegpt", seed=1)]
    assert group_by_calibration(trials) == [[trials[0], trials[2]], [trials[1], trials[3]]]
    assert group_by_calibration([]) == []
