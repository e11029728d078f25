"""Parts of trials, by sparsity or without fine-tune: neither they nor their wholes are run twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from bench.execution.selection import TrialSelection, select_trials
from bench.execution.worker import execute
from bench.specs.recipes import FinetuneSpec
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

RECIPE = FinetuneSpec(epochs=1, images=32, batch_size=32, lr=1e-3, lr_end=1e-4)
OF_THE_RUN = ["fit_seconds", "prune_seconds", "finetune_seconds", "started_at", "peak_memory_bytes"]
WHOLE = Trial(
    sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5", "0.75", "0.9"),
    finetune_at=("0.5", "0.75"), finetune=RECIPE, evaluation_images=100, calibration={"images": 32},
)  # fmt: skip
SWEEP = Sweep(name="s", title="S", profiles={"embedded": (WHOLE,)})


def run(results: Path, only: Iterable[str] = (), finetune: bool = True) -> tuple[TrialSelection, list[tuple[str, ...]]]:
    """Runs what a selection lacks, collects, and returns it with the patterns of every trial that ran."""
    selection = select_trials(SWEEP, only=only, results=results, finetune=finetune)
    todo = selection.missing()
    for trial in todo:
        assert execute(trial, results, ExecutionConfig()).status == "done"
    return selection, [trial.patterns for trial in todo]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the whole trial, run at once."""
    results = tmp_path_factory.mktemp("whole")
    run(results)
    return results


def test_a_part_of_what_is_done_is_done(at_once: Path) -> None:
    for only, finetune in ((["sparsity=0.75"], True), (["sparsity=0.9"], False), (["phase=one_shot"], True)):
        selection, ran = run(at_once, only, finetune)
        assert ran == []
        assert selection.summary(()) == "s (embedded): 1 trials, 1 done, 0 to run"
        assert selection.collect().has_pruned()


def test_a_whole_takes_the_rows_of_its_parts(at_once: Path, tmp_path: Path) -> None:
    part, ran = run(tmp_path, ["sparsity=0.75"])
    assert ran == [("0.75",)]
    assert [part.label(trial) for trial in part.trials] == ["vit magnitude seed 0 at 0.75"]
    collected = part.collect()
    assert collected.has_pruned()
    assert collected.gaps() == [
        f"{tmp_path}/embedded/s.parquet has no rows yet of 1 trials of the sweep that were not selected"
    ]
    assert not part.store.is_finished(WHOLE.id), "a part is never taken for the whole"

    whole, ran = run(tmp_path)
    assert ran == [("0.5", "0.9")], "the rest alone"
    rows = whole.collect().rows
    assert set(rows["trial_id"]) == {WHOLE.id}
    expected = select_trials(SWEEP, results=at_once).collect().rows
    pd.testing.assert_frame_equal(rows.drop(columns=OF_THE_RUN), expected.drop(columns=OF_THE_RUN), check_exact=True)
    files = [select_trials(SWEEP, results=folder).store for folder in (tmp_path, at_once)]
    for name in ("collected_predictions", "collected_layers"):
        pd.testing.assert_frame_equal(*(pd.read_parquet(getattr(store, name)) for store in files), check_exact=True)
    assert select_trials(SWEEP, results=tmp_path).trials == (WHOLE,), "and whole from then on"
    assert run(tmp_path)[1] == []


def test_one_shot_rows_are_shown_until_the_fine_tune_is_done(tmp_path: Path) -> None:
    one_shot, ran = run(tmp_path, finetune=False)
    assert ran == [("0.5", "0.75", "0.9")]
    assert [one_shot.label(trial) for trial in one_shot.trials] == [
        "vit magnitude seed 0 at 0.5, 0.75, 0.9, one-shot alone"
    ]
    rows = one_shot.collect().rows
    assert rows["phase"].tolist() == ["dense", *["one_shot"] * 3]
    assert run(tmp_path, ["sparsity=0.9"])[1] == [], "nothing is trained at it"
    left = select_trials(SWEEP, results=tmp_path)
    assert [trial.patterns for trial in left.missing()] == [("0.5", "0.75")]
    rows = left.collect().rows
    assert sorted(rows.loc[rows["phase"] == "one_shot", "pattern"]) == ["0.5", "0.75", "0.9"], "each once"


def test_a_part_waits_for_its_whole_in_a_job(tmp_path: Path) -> None:
    selection = select_trials(SWEEP, only=["sparsity=0.75"], results=tmp_path)
    assert selection.missing({WHOLE.id}) == ()
    assert len(selection.missing({"another"})) == 1
