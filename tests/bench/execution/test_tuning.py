from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.execution.tuning import choose
from bench.specs.trial import Trial
from bench.specs.tuning import tuning_sweep

SPARSITIES = ("0.5", "0.75", "0.9")


@pytest.fixture(scope="module")
def trials() -> tuple[Trial, ...]:
    """The authors' setting of WoodFisher and three others."""
    return tuning_sweep("embedded", ["woodfisher"], ["vit"], count=4).trials("embedded")


def rows_of(trials: Sequence[Trial], top1: Sequence[Sequence[float]], **values: object) -> pd.DataFrame:
    """Rows of trials with the top-1 of each at its patterns, and the row of the dense model."""
    rows = [
        {"trial_id": trial.id, "pattern": pattern, "phase": "one_shot", "status": "done", "top1": value,
         "commit": "c0ffee", "dirty": False, **values}
        for trial, numbers in zip(trials, top1, strict=True)
        for pattern, value in zip((None, *trial.patterns), (99.0, *numbers), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_mean_over_the_patterns_decides(trials: tuple[Trial, ...]) -> None:
    rows = rows_of(trials, [(90, 80, 10), (85, 75, 40), (91, 81, 20), (88, 72, 40)])
    (found,) = choose(trials, rows).pruners
    assert found.chosen == 1, "of equals the earlier"
    assert [one.mean for one in found.tried] == [60.0, pytest.approx(200 / 3), 64.0, pytest.approx(200 / 3)]
    assert [one.trial_id for one in found.tried] == [trial.id for trial in trials]
    assert found.best.pruner_options == trials[1].pruner_options
    assert choose(trials, rows).commit == "c0ffee"
    assert choose(trials, rows.assign(dirty=True)).commit is None


def test_what_has_no_valid_result_at_every_pattern_is_not_chosen(trials: tuple[Trial, ...]) -> None:
    rows = rows_of(trials, [(50, 50, 50), (99, 99, 99), (99, 99, 99), (60, 60, 60)])
    at = rows["pattern"] == "0.75"
    rows.loc[(rows["trial_id"] == trials[1].id) & at, "status"] = "invalid"
    rows.loc[(rows["trial_id"] == trials[2].id), "status"] = "failed"
    (found,) = choose(trials, rows).pruners
    assert found.chosen == 3
    assert found.tried[1].top1 == {"0.5": 99.0, "0.75": None, "0.9": 99.0}
    with pytest.raises(UserError, match=r"no settings of woodfisher on vit have a valid result at 0\.5, 0\.75, 0\.9"):
        choose(trials, rows.assign(status="failed"))
    with pytest.raises(UserError, match=r"1 of 4 trials of tuning have not run: vit woodfisher .* seed 0"):
        choose(trials, rows[rows["trial_id"] != trials[3].id])


def test_the_rate_is_chosen_by_the_mean_of_both_pruners() -> None:
    every = tuning_sweep("embedded", models=["vit"], count=1).trials("embedded")
    trained = [trial for trial in every if trial.finetune is not None]
    plain = [trial for trial in every if trial.finetune is None]
    after = [(80, 82, 90, 84, 83), (86, 87, 79, 85, 88)]  # of magnitude and of CAP; means 83, 84.5, 84.5, 84.5, 85.5
    tuned = rows_of(trained, [(value,) for part in after for value in part], phase="finetuned")
    (rate,) = choose(every, pd.concat([rows_of(plain, [(1, 1, 1)] * len(plain)), tuned])).rates
    assert (rate.rates, rate.best) == ((1e-5, 3e-5, 1e-4, 3e-4, 1e-3), 1e-3)
    assert rate.top1 == {"magnitude": after[0], "cap": after[1]}
    assert rate.trials == tuple(trial.id for trial in trained)
