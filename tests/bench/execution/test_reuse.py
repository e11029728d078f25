"""Rows of a pattern are the same whatever other patterns their trial has, and so they are reused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.execution.reuse import sources
from bench.execution.worker import execute
from bench.results.store import Store
from bench.specs.comparison import plan
from bench.specs.recipes import FinetuneSpec
from bench.specs.trial import Trial
from bench.trials.context import ExecutionConfig

RECIPE = FinetuneSpec(epochs=1, images=64, batch_size=32, lr=1e-3, lr_end=1e-4, augmentation="medium1")
OF_THE_RUN = ["trial_id", "fit_seconds", "shared_seconds", "prune_seconds", "finetune_seconds", "started_at",
              "peak_memory_bytes", "host", "job", "threads"]  # fmt: skip


def trial(*patterns: str, tuned: bool = True) -> Trial:
    return Trial(
        sweep="compare", profile="embedded", model="vit", pruner="cap", patterns=patterns, evaluation_images=100,
        pruner_options={"block_size": 16, "num_gradients": 32}, calibration={"images": 32}, seed=1,
        finetune_at=patterns if tuned else (), finetune=RECIPE if tuned else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one trial at three patterns, each fine-tuned with stochastic depth."""
    folder = tmp_path_factory.mktemp("results")
    assert execute(trial("0.5", "0.75", "2:4"), folder, ExecutionConfig()).status == "done"
    return folder


def test_a_reused_row_is_that_of_a_run_afresh(results: Path, tmp_path: Path) -> None:
    [source] = sources(store := Store(results, "embedded", "compare"), [trial("0.75")])
    assert source.trial == trial("0.5", "0.75", "2:4")
    assert source.patterns == ("0.75",)
    reused = store.collect([source.trial.id], {source.trial.id: source.patterns})
    execute(trial("0.75"), tmp_path, ExecutionConfig())
    fresh = Store(tmp_path, "embedded", "compare").collect([trial("0.75").id])
    assert reused["phase"].tolist() == ["dense", "one_shot", "finetuned"]
    pd.testing.assert_frame_equal(reused.drop(columns=OF_THE_RUN), fresh.drop(columns=OF_THE_RUN), check_exact=True)


def test_only_what_is_missing_is_left_to_run(results: Path) -> None:
    store = Store(results, "embedded", "compare")

    def found(*trials: Trial) -> list[tuple[tuple[str, ...], tuple[str, ...], bool]]:
        return [(one.trial.patterns, one.patterns, store.is_finished(one.trial.id)) for one in sources(store, trials)]

    whole = ("0.5", "0.75", "2:4")
    assert found(trial(*whole)) == [(whole, whole, True)]
    assert found(trial("0.5", "0.9", "2:4")) == [(whole, ("0.5", "2:4"), True), (("0.9",), ("0.9",), False)]
    assert found(trial("0.9")) == [(("0.9",), ("0.9",), False)]
    assert found(trial("0.5", tuned=False)) == [(("0.5",), ("0.5",), False)], "it says no fine-tune"
    other = trial("0.5").model_copy(update={"evaluation_images": 200})
    assert found(other) == [(("0.5",), ("0.5",), False)], "all but the patterns must be the same"


def test_trials_of_a_comparison_differ_in_patterns_alone() -> None:
    """What `sources` relies on: a trial is fine-tuned after every pattern or after none."""
    for finetune in (False, True):
        made = plan("magnitude", {}, ["cap"], ["vit"], ["0.5", "0.9"], [0], finetune).trials
        assert {one.finetune_at == (one.patterns if finetune else ()) for one in made} == {True}
        assert {one.patterns for one in made} - {("0.0",)} == {("0.5", "0.9")}, "beside the dense model's control"
        assert {one.training for one in made} == {None}
