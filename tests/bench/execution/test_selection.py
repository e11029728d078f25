from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.execution.selection import select_trials
from bench.execution.worker import execute
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

MakeTrial = Callable[..., Trial]


def test_what_is_missing_and_what_is_collected(tmp_path: Path, make_trial: MakeTrial) -> None:
    trials = tuple(make_trial(seed=seed) for seed in range(3))
    sweep = Sweep(name="s", title="S", profiles={"embedded": trials})
    selection = select_trials(sweep, seeds=(0, 1), results=tmp_path)
    assert selection.title == "s (embedded)"
    assert (selection.trials, selection.collected) == (trials[:2], trials)
    assert selection.missing() == trials[:2]
    assert not selection.has_results()
    with pytest.raises(UserError, match="no trial of s \\(embedded\\) has run yet"):
        selection.collect()

    execute(trials[0], tmp_path, ExecutionConfig())
    assert selection.missing() == trials[1:2]
    assert selection.summary(selection.missing()) == "s (embedded): 2 trials, 1 done, 1 to run"
    busy = selection.missing({trials[1].id})
    assert busy == ()
    assert selection.summary(busy) == "s (embedded): 2 trials, 1 done, 1 in jobs already, 0 to run"
    assert selection.has_results()
    selection.store.path(trials[1].id).write_bytes(b"cut off")
    collected = selection.collect()
    assert set(collected.rows["trial_id"]) == {trials[0].id}
    assert (collected.missing, collected.damaged) == (trials[1:], trials[1:2])
    assert collected.gaps() == [
        f"{tmp_path}/embedded/s.parquet lacks 1 of 2 trials: vit/magnitude",
        f"{tmp_path}/embedded/s.parquet has no rows yet of 1 trials of the sweep that were not selected",
        f"{tmp_path}/embedded/s/{trials[1].id}.parquet (vit magnitude seed 1) cannot be read: run the sweep again to "
        "make it anew",
    ]


def test_a_sweep_is_selected_by_name() -> None:
    selection = select_trials("table1", only=("model=vit", "pruner=cap"))
    assert {(trial.model, trial.pruner) for trial in selection.trials} == {("vit", "cap")}
    with pytest.raises(UserError, match="unknown sweep 'tabel1'"):
        select_trials("tabel1")
    with pytest.raises(UserError, match="no profile 'laptop'"):
        select_trials("table1", "laptop")


def test_expected_accuracies_are_read() -> None:
    selection = select_trials("table1", only=("model=vit", "model=convnext"))
    assert selection.read_expected_top1([]) == {}
    assert selection.read_expected_top1(["70", "vit=71.5"]) == {"vit": 71.5, "convnext": 70.0}
    for text, message in (
        ("many", "write PERCENT or MODEL=PERCENT"),
        ("101", "write PERCENT"),
        ("xcit=3", "no selected"),
    ):
        with pytest.raises(UserError, match=message):
            selection.read_expected_top1([text])
