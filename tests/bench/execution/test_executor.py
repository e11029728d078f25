from __future__ import annotations

from collections.abc import Callable

from bench.execution.executor import balanced_groups, group_by_calibration
from bench.specs.trial import Trial


def test_trials_that_share_their_calibration_images_are_a_group(make_trial: Callable[..., Trial]) -> None:
    trials = [make_trial(seed=0), make_trial(seed=1), make_trial("sparsegpt"), make_trial("sparsegpt", seed=1)]
    assert group_by_calibration(trials) == [[trials[0], trials[2]], [trials[1], trials[3]]]
    assert group_by_calibration([]) == []


def test_groups_are_cut_where_processes_would_wait_for_each_other(make_trial: Callable[..., Trial]) -> None:
    names = ("magnitude", "sparsegpt", "wanda", "random")
    trials = [make_trial(name, seed=seed) for seed in range(3) for name in names]
    assert balanced_groups(trials, 3) == group_by_calibration(trials), "they are even"
    cut = balanced_groups(trials, 2)
    assert [trial for part in cut for trial in part] == trials
    assert {len(part) for part in cut} == {2}
    assert all(len({trial.seed for trial in part}) == 1 for part in cut)
    assert balanced_groups(trials[:4], 4) == [[trial] for trial in trials[:4]], "a single group"
    assert balanced_groups(trials[:1], 8) == [trials[:1]]
    many = [make_trial(name, seed=seed) for seed in range(9) for name in names]
    assert [len(part) for part in balanced_groups(many, 2)] == [2] * 18, "5 groups for one, 4 for the other"
    assert balanced_groups([], 2) == []
