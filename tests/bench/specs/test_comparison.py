from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.results import folders, tuned
from bench.specs.comparison import Comparison, plan
from bench.specs.profiles import EMBEDDED

MINE = """
import cap

class Mine(cap.ScorePruner):
    def __init__(self, power: float = 1.0, block_size: int = 7) -> None:
        self.power = power

    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}

class Picky(Mine):
    def supports(self, pattern):
        return f"Picky dislikes {pattern}" if getattr(pattern, "scope", "") == "global" else None

class Unsure(Mine):
    def supports(self, pattern):
        return self.importance

class Needy(Mine):
    def __init__(self, power):
        pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def planned(pruner: str, **changes: object) -> Comparison:
    values = {"options": {}, "against": ("cap", "magnitude"), "models": ("vit", "dino"), "sparsities": ("0.9", "0.5"),
              "seeds": (0, 1)}  # fmt: skip
    return plan(pruner, **{**values, **changes})


def test_all_pruners_get_the_same_data_seeds_and_budget(mine: Path) -> None:
    comparison = planned(f"{mine}:Mine", options={"power": 2})
    trials = comparison.trials
    assert len(trials) == 2 * 2 * 3
    assert {(t.model, t.seed) for t in trials} == {(m, s) for m in ("vit", "dino") for s in (0, 1)}
    assert {t.patterns for t in trials} == {("0.5", "0.9")}
    assert len({t.calibration.model_dump_json() for t in trials}) == 1
    assert [t.pruner for t in trials[:3]] == [f"{mine}:Mine", "cap", "magnitude"], "a model and seed side by side"
    assert len({t.group for t in trials[:3]}) == 1
    assert trials[0].pruner_options == {"power": 2, "block_size": 64}, "the profile sets what it knows"
    assert trials[1].pruner_options["num_gradients"] == 1024
    assert {t.finetune for t in trials} == {None}


def test_a_seed_is_a_dense_model_of_its_own_where_there_are_several(mine: Path) -> None:
    trials = planned(f"{mine}:Mine").trials
    assert {(t.model, t.seed, t.dense_seed) for t in trials} == {
        ("vit", 0, 0), ("vit", 1, 1), ("dino", 0, None), ("dino", 1, None),
    }  # fmt: skip
    assert {t.model for t in planned(f"{mine}:Mine", models=()).trials} == {"vit", "convnext", "xcit", "simclr"}
    fields = {"profile": "cifar10", "models": (), "against": ("magnitude",)}
    assert {t.dense_seed for t in planned(f"{mine}:Mine", **fields).trials} == {None}, "one set of weights, all models"


def test_the_fine_tune_is_that_of_the_protocol_and_the_dense_model_goes_through_it(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "PACKAGED", tmp_path)
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)
    trials = planned(f"{mine}:Mine", finetune=True).trials
    recipe = EMBEDDED.recipes.recovery
    assert recipe is not None
    assert (recipe.augmentation, recipe.schedule, recipe.ema > 0, recipe.warmup > 0) == ("mild", "cosine", True, True)
    assert {trial.finetune for trial in trials} == {recipe}, "no rate is published here: the middle one"
    assert {trial.finetune_at for trial in trials if trial.patterns != ("0.0",)} == {("0.5", "0.9")}
    controls = [(t.model, t.seed, t.pruner, t.finetune_at) for t in trials if t.patterns == ("0.0",)]
    assert controls == [(m, s, "magnitude", ("0.0",)) for m in ("vit", "dino") for s in (0, 1)]
    other = planned("cap", against=("magnitude",), models=("deit_tiny",), finetune=True, profile="imagenet").trials
    assert {trial.finetune.epochs for trial in other if trial.finetune} == {20}, "a profile without it has its own"


def test_own_options_take_precedence(mine: Path) -> None:
    assert planned(f"{mine}:Mine", options={"block_size": 3}).new.options == {"power": 1.0, "block_size": 3}
    again = planned("cap", options={"damp": 1e-5})
    assert [one.label for one in again.pruners] == ["CAP (damp=1e-05)", "CAP (damp=0.1)", "GM"]


def test_settings_that_a_profile_shares() -> None:
    shared = {"block_size": 64, "num_gradients": 1024, "damp": 0.1, "damp_scale": "relative"}
    assert all(EMBEDDED.pruner_options(name) == shared for name in ("cap", "woodfisher", "obert", "chita"))
    assert EMBEDDED.pruner_options("gradient_weight") == {"num_gradients": 1024}
    assert EMBEDDED.pruner_options("magnitude") == {}
    assert EMBEDDED.pruner_options("mfac")["block_size"] == 512


def test_a_trial_does_not_depend_on_how_the_command_was_written(mine: Path, monkeypatch) -> None:
    monkeypatch.chdir(mine.parent)
    one = planned("mine.py:Mine")
    other = planned("./mine.py:Mine", sparsities=("0.50", "0.9"))
    assert [t.id for t in one.trials] == [t.id for t in other.trials]
    assert one.name == other.name
    names = {planned("mine.py:Mine", **change).name for change in (
        {"options": {"power": 2}}, {"seeds": (0,)}, {"models": ("vit",)}, {"against": ("cap",)}, {"finetune": True},
        {"sparsities": ("0.5",)},
    )}  # fmt: skip
    assert len(names | {one.name}) == 7, "no comparison overwrites another"
    assert one.name.startswith("Mine-")


@pytest.mark.parametrize(
    ("pruner", "changes", "message"),
    [
        ("mine.py:Mine", {"models": ("resnet",)}, "unknown model 'resnet' in profile 'embedded': choose from convnext"),
        ("mine.py:Mine", {"models": ("vit", "vit")}, "--model has vit twice"),
        ("mine.py:Mine", {"sparsities": ("1.5",)}, "--sparsity: sparsity 1.5 is out of range"),
        ("mine.py:Mine", {"sparsities": ("half",)}, "'half' is no pattern: write 0.75"),
        ("mine.py:Mine", {"sparsities": ("0.5", "0.50")}, "--sparsity has 0.5 twice"),
        ("mine.py:Mine", {"sparsities": ()}, "--sparsity has no value"),
        ("mine.py:Mine", {"sparsities": ("3:5",)}, "--sparsity 3:5 does not fit model vit: .* no multiple of 5"),
        ("mine.py:Mine", {"seeds": (0, 1, 0)}, "--seeds has 0 twice"),
        ("mine.py:Mine", {"seeds": ()}, "--seeds has no value: give at least one"),
        ("mine.py:Mine", {"seeds": (-1,)}, "a seed is at least 0"),
        ("mine.py:Mine", {"against": ()}, "--against has no value"),
        ("mine.py:Mine", {"against": ("cap", "cap")}, "--against has cap twice"),
        ("mine.py:Mine", {"against": ("capp",)}, "unknown pruner 'capp': choose from alps, cap"),
        ("mine.py:Mine", {"against": ("./mine.py:Mine",)}, "mine.py:Mine stands twice with the same options"),
        ("mine.py:Mine", {"profile": "laptop"}, "unknown profile 'laptop': choose from embedded"),
        ("mine.py:Mine", {"options": {"powre": 1}}, "no option powre: its options are power=1.0, block_size=7"),
        ("mine.py:Mine", {"against": ("wanda", "obc")}, "no pruner of --against supports 0.5 or 0.9, .* ask for 0.5@l"),
        ("mine.py:Yours", {}, "has no pruner class 'Yours'; it has Mine"),
        ("mine.py:Needy", {}, "mine.py:Needy: power has no default: give it with --option power=VALUE"),
        ("mine.py:Unsure", {}, "supports\\(\\) raised AttributeError: .*; it must answer before fit"),
        ("other.py:Mine", {}, "pruner file other.py does not exist"),
        ("cap", {}, "cap stands twice with the same options"),
        ("cap", {"options": {"damp": -1}}, "damp=-1 is not valid"),
        ("mfac", {"options": {"num_gradients": 2000}}, "2000 per-sample gradients need as many calibration images"),
        ("mine.py:Picky", {}, "supports no pattern of --sparsity: of 0.5, 0.5@layer, 0.5@blocks4, 2:4 it supports "
         "0.5@layer and 0.5@blocks4 and 2:4 .0.5: Picky dislikes 0.5; 0.9: Picky dislikes 0.9."),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_work(mine: Path, monkeypatch, pruner: str, changes: dict, message) -> None:
    monkeypatch.chdir(mine.parent)
    with pytest.raises(UserError, match=message):
        planned(pruner, **changes)


def test_patterns_that_some_skip_are_announced(mine: Path) -> None:
    comparison = planned(f"{mine}:Picky", against=("wanda", "cap"), sparsities=("0.5", "0.5@layer"))
    lines = list(comparison.refusals())
    assert lines[0] == "Picky skips 0.5: Picky dislikes 0.5"
    assert lines[1].startswith("Wanda skips 0.5: ")
    assert lines[1].endswith("ask for 0.5@layer")
    assert len(lines) == 2


def test_defaults_that_the_profile_replaces_are_told(mine: Path) -> None:
    told = planned(f"{mine}:Mine", against=("cap",)).overrides()
    assert told == "Mine runs with block_size=64, as the others; --option sets another value"
    assert planned(f"{mine}:Mine", options={"block_size": 8}, against=("cap",)).overrides() is None
    assert planned("magnitude", against=("cap",)).overrides() is None


def test_statistics_of_batch_normalisation_are_those_of_all_pruners() -> None:
    usual, again = (planned("magnitude", models=("xcit",), against=("random",), batch_norm=kind)
                    for kind in ("kept", "reestimated"))  # fmt: skip
    assert [trial.batch_norm for trial in again.trials] == ["reestimated"] * 4
    assert usual.name == planned("magnitude", models=("xcit",), against=("random",)).name != again.name
    with pytest.raises(UserError, match="no batch normalisation in vit, dino; --model names others"):
        planned("magnitude", against=("random",), batch_norm="reestimated")
    with pytest.raises(UserError, match="--batch-norm fresh is not valid: choose from kept, reestimated"):
        planned("magnitude", against=("random",), batch_norm="fresh")
