"""Sweeps with dense seeds hold what docs/protocol.md asks for, at the settings that were chosen."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bench.specs.profiles
from bench.core.errors import UserError
from bench.results import folders, tuned
from bench.results.tuned import TriedSettings, TunedPruner, TunedRate, TunedSettings, tuned_file
from bench.specs.ablation import BASE, GRIDS
from bench.specs.discovery import load_sweep
from bench.specs.profiles import EMBEDDED, PROFILES
from bench.specs.recipes import GradualSpec
from bench.specs.search_spaces import configurations, search_spaces
from bench.specs.trial import Trial

SWEEPS = Path(__file__).parents[3] / "sweeps"
MODELS, SEEDS, RATE = ("vit", "convnext", "xcit"), (0, 1, 2), 3e-4
Load = Callable[[str], tuple[Trial, ...]]
CHOSEN = {name: configurations(EMBEDDED, name, 4, 0)[-1] for name in search_spaces(EMBEDDED.calibration.images)}


def choice(model: str, pruner: str) -> TunedPruner:
    """A choice of the last of four settings."""
    one = CHOSEN[pruner]
    tried = TriedSettings(pruner_options=dict(one.pruner_options), calibration=one.calibration.model_dump(mode="json"),
                          trial_id="0" * 16, top1={"0.5": 80.0})  # fmt: skip
    return TunedPruner(model=model, pruner=pruner, tried=(tried,), chosen=0)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a sweep anew, as it is with dense seeds and published choices."""
    switched = replace(EMBEDDED, dense_seeds=SEEDS)
    monkeypatch.setattr(bench.specs.profiles, "EMBEDDED", switched)
    monkeypatch.setitem(PROFILES, "embedded", switched)
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    models = switched.seeded_models
    rates = tuple(TunedRate(model=one, rates=(RATE,), top1={"cap": (80.0,)}, chosen=0, trials=()) for one in models)
    TunedSettings(
        profile="embedded", split="validation", evaluation_images=None, dense_seed=0, tuning_seed=0, configurations=12,
        commit=None, rates=rates, pruners=tuple(choice(model, pruner) for model in models for pruner in CHOSEN),
    ).write(tuned_file("embedded", tmp_path / "results"))  # fmt: skip
    return lambda name: runpy.run_path(str(SWEEPS / f"{name}.py"))["SWEEP"].trials(
        "embedded"
    )  # never a module of before


NAMES = ("table1", "headline", "one_shot_curves", "attribution", "gradual", "recovery", "nm", "fastcap", "quantization",
         "structured", "budget")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_trials_are_of_dense_seeds_at_chosen_settings(load: Load, name: str) -> None:
    trials = load(name)
    assert {(trial.seed, trial.dense_seed) for trial in trials} == {(seed, seed) for seed in SEEDS}
    assert {trial.evaluation_split for trial in trials} == {"test"}
    assert set(MODELS) <= {trial.model for trial in trials} or name == "budget"
    chosen_ones = [trial for trial in trials if trial.setting == "tuned"]
    assert chosen_ones or name in ("attribution", "structured"), "these two have settings of their own"
    for trial in chosen_ones:
        chosen = CHOSEN[trial.pruner]
        differing = {key for key, value in chosen.pruner_options.items() if trial.pruner_options[key] != value}
        assert differing <= {"num_recomputations"}, "what is not reached in parts"
        assert trial.calibration == chosen.calibration
    others = {trial.pruner for trial in trials if trial.setting is None}
    assert others <= {"magnitude", "random", "wanda", "compose"} or name == "structured", "there is nothing to choose"


def test_table_1_has_every_rival_in_both_settings_and_the_control(load: Load) -> None:
    trials = load("table1")
    rivals = {"magnitude", "gradient_weight", "woodfisher", "obert", "mfac", "obc", "alps", "cap"}
    for model in MODELS:
        for seed in SEEDS:
            part = [trial for trial in trials if (trial.model, trial.seed) == (model, seed)]
            judged = [trial for trial in part if trial.setting != "authors" and trial.patterns != ("0.0",)]
            assert {trial.pruner for trial in judged} == rivals
            assert {trial.pruner for trial in part if trial.setting == "authors"} == rivals - {"magnitude"}
            assert all(trial.finetune_at == trial.patterns for trial in judged)
            [control] = [trial for trial in part if trial.patterns == ("0.0",)]
            recipes = {trial.finetune.model_dump_json() for trial in (*judged, control) if trial.finetune}
            assert len(recipes) == 1, "one training for all"
            assert control.finetune is not None
            assert (control.finetune.lr, control.finetune_at) == (RATE, ("0.0",))
    assert {trial.patterns for trial in trials if trial.pruner == "alps"} == {("0.5@layer", "0.75@layer", "0.9@layer")}
    assert {trial.patterns for trial in trials if trial.pruner == "obc"} == {("0.5", "0.75", "0.9")}


def training(trial: Trial) -> GradualSpec:
    assert isinstance(trial.training, GradualSpec)
    return trial.training


def test_every_checkpoint_has_a_run_that_ends_there_after_as_many_epochs(load: Load) -> None:
    trials = [trial for trial in load("gradual") if trial.pruner == "cap"]
    for model in MODELS:
        own = [trial for trial in trials if trial.model == model]
        [run] = {trial.training: trial for trial in own if len(trial.patterns) > 1}.values()
        ends = training(run).measured()
        assert sorted(ends.values()) == [0.5, 0.6, 0.75, 0.8, 0.9]
        dedicated = [training(trial) for trial in own if len(trial.patterns) == 1 and trial.seed == 0]
        assert [max(one.measured().items()) for one in dedicated] == list(ends.items())
        assert all(one.schedule == "cosine" for one in dedicated), "with the sawtooth it would be the same training"
        assert all({one.images, training(run).images} == {4096} for one in dedicated)


def test_recipes_are_compared_on_every_architecture_at_the_end_of_the_same_epochs(load: Load) -> None:
    trials = load("recovery")
    assert {trial.patterns for trial in trials} == {("0.9",)}
    assert len(trials) == len(MODELS) * len(SEEDS) * 4
    assert len({(training(t).images, training(t).epochs, training(t).knots) for t in trials}) == 1
    found = {(training(t).schedule, training(t).augmentation) for t in trials}
    assert found == {(schedule, strength) for schedule in ("sawtooth", "cosine") for strength in ("light1", "deit")}


def test_n_m_leaves_depthwise_convolutions_dense(load: Load) -> None:
    trials = [trial for trial in load("nm") if trial.patterns != ("0.0",)]
    assert all(trial.pruner_options.get("num_recomputations", 1) == 1 for trial in trials)
    assert {trial.finetune_at for trial in trials} == {("2:4",)}
    for trial in (trial for trial in trials if trial.model == "xcit"):
        assert not any("local_mp" in expression for expression in trial.resolve().model.prunable)


def test_structured_pruning_is_fine_tuned_where_the_claim_looks(load: Load) -> None:
    trials = [trial for trial in load("structured") if trial.patterns != ("0.0",)]
    quarter = {"vit": "0.25@units", "convnext": "0.6@units", "xcit": "0.5@units"}  # of the multiply-adds
    assert {(trial.model, *trial.finetune_at) for trial in trials} == set(quarter.items())
    assert all(trial.finetune_at[0] in trial.patterns for trial in trials)
    own = ("block_size", "damp", "damp_scale")
    settings = {tuple(trial.pruner_options[name] for name in own) for trial in trials if trial.pruner == "cap"}
    assert settings == {(64, 0.1, "relative")}, "not those tuned for single weights"
    int8 = [trial for trial in load("quantization") if trial.quantization is not None]
    assert all(trial.quantization.finetune == trial.finetune for trial in int8 if trial.quantization), "trained alike"
    assert all("0.75" in trial.finetune_at for trial in int8)


def test_attribution_shares_one_fisher_and_has_three_allocations(load: Load) -> None:
    every = [trial for trial in load("attribution") if (trial.model, trial.seed) == ("vit", 0)]
    trials = [trial for trial in every if trial.pruner_options["weights"] is not None]
    assert len(trials) == 3 * 3 * 3
    shared = {str(trial.pruner_options["mask_options"]) for trial in trials if trial.pruner_options["mask_options"]}
    assert len(shared) == 1
    kinds = {(trial.pruner_options["allocation"], trial.patterns[0]) for trial in trials}
    assert kinds == {(None, "0.5"), (None, "0.5@layer"), ("obc", "0.5")}
    hybrids = [trial.pruner_options for trial in every if trial not in trials]
    assert [(one["mask"], one["allocation"]) for one in hybrids] == [
        (mask, allocation) for mask in ("obc", "alps", "sparsegpt") for allocation in ("cap", None)
    ]


def test_grids_run_on_validation_and_their_ends_on_test(load: Load) -> None:
    grid, ends = load("ablation"), load("ablation_test")
    assert {trial.evaluation_split for trial in grid} == {"validation"}
    assert {trial.evaluation_split for trial in ends} == {"test"}
    assert {trial.pruner for trial in ends} == {"cap"}

    def values(trials: tuple[Trial, ...], option: str) -> set[Any]:
        alone = [
            trial.pruner_options for trial in trials
            if trial.pruner == "cap"
            and all(trial.pruner_options[key] == value for key, value in BASE.items() if key != option)
        ]  # fmt: skip
        return {options[option] for options in alone}

    for option, wanted in GRIDS.items():
        assert values(grid, option) == set(wanted)
        assert values(ends, option) == {wanted[0], BASE[option], wanted[-1]}


def test_an_installed_package_has_the_published_choices(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a checkout they lie within the package; the trials are the same."""
    trials = load("recovery")
    shutil.move(tuned_file("embedded", tmp_path / "results"), tmp_path / "embedded.json")
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.setattr(tuned, "PACKAGED", tmp_path)
    assert [trial.id for trial in load("recovery")] == [trial.id for trial in trials]


def test_without_choices_a_sweep_says_what_to_run(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned_file("embedded", tmp_path / "results").unlink()
    monkeypatch.setattr(tuned, "PACKAGED", tmp_path)
    line = ("no setting of gradient_weight was chosen on vit in profile embedded yet: capbench tune --pruner "
            "gradient_weight --model vit, then capbench publish tuning$")  # fmt: skip
    with pytest.raises(UserError, match=line):
        load("table1")


def test_smaller_models_are_controls_and_none_of_the_models_that_are_pruned() -> None:
    trials = load_sweep("smaller").trials("embedded")
    assert {trial.model for trial in trials} == set(EMBEDDED.controls)
    assert not set(EMBEDDED.controls) & set(EMBEDDED.models)
    assert {(trial.patterns, trial.dense_seed) for trial in trials} == {(("0.0",), 0)}
