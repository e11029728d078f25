from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.results import folders
from bench.results.tuned import TriedSettings, TunedPruner, TunedRate, TunedSettings, tuned_file
from bench.specs.comparison import plan
from bench.specs.discovery import load_sweep
from bench.specs.profiles import EMBEDDED, IMAGENET
from bench.specs.settings import find_configuration, finetune_recipe, setting_cases
from bench.specs.sweep import grid
from bench.specs.trial import Trial

DRAWN = {**EMBEDDED.calibration.model_dump(), "label_source": "drawn"}
BASE = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "magnitude", "patterns": ("0.5",)}


def choice(model: str, pruner: str, **options: object) -> TunedPruner:
    one = TriedSettings(pruner_options=options, calibration=DRAWN, trial_id="0" * 16, top1={"0.5": 80.0})
    return TunedPruner(model=model, pruner=pruner, tried=(one,), chosen=0)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published choices, which are also those of the folder of results."""
    rate = TunedRate(model="vit", rates=(3e-4,), top1={"cap": (80.0,)}, chosen=0, trials=())
    tuned = TunedSettings(
        profile="embedded", split="validation", evaluation_images=None, dense_seed=0, tuning_seed=0, configurations=12,
        commit=None, rates=(rate,),
        pruners=(choice("vit", "cap", damp=0.5, damp_scale="relative"), choice("dino", "cap", damp=0.25)),
    )  # fmt: skip
    (tmp_path / "pyproject.toml").touch()
    tuned.write(tuned_file("embedded", tmp_path / "results"))
    monkeypatch.setattr(folders, "CHECKOUT", tmp_path)
    return tmp_path / "results"


def test_a_trial_says_whose_its_options_are_and_old_ids_stay() -> None:
    ids = {Trial(**BASE, setting=setting).id for setting in (None, "authors", "tuned")}
    assert len(ids) == 3
    assert Trial(**BASE).id == Trial(**BASE, setting=None).id
    assert '"setting"' not in Trial(**BASE).identity_text()


def test_settings_by_whose_they_are(results: Path) -> None:
    tuned = find_configuration(EMBEDDED, "vit", "cap", "tuned", results)
    assert (tuned.pruner_options["damp"], tuned.calibration.label_source) == (0.5, "drawn")
    assert find_configuration(EMBEDDED, "dino", "cap", "tuned").pruner_options == {"damp": 0.25}
    authors = find_configuration(EMBEDDED, "vit", "cap", "authors")
    assert (authors.pruner_options["block_size"], authors.calibration) == (192, EMBEDDED.calibration)
    assert find_configuration(EMBEDDED, "vit", "magnitude", "tuned").pruner_options == {}, "nothing to choose"
    with pytest.raises(UserError, match="unknown setting 'best': choose from authors, tuned"):
        find_configuration(EMBEDDED, "vit", "cap", "best")
    with pytest.raises(UserError, match="no setting of cap was chosen on xcit in profile embedded yet: capbench tune "
                       "--pruner cap --model xcit"):  # fmt: skip
        find_configuration(EMBEDDED, "xcit", "cap", "tuned")


def test_a_sweep_has_each_pruner_in_each_setting(results: Path) -> None:
    cases = setting_cases(EMBEDDED, ["vit"], ["magnitude", "cap"], dense_seed=1)
    trials = grid(sweep="s", profile="embedded", case=cases, patterns=("0.5",))
    assert [(t.pruner, t.setting, t.dense_seed) for t in trials] == [
        (pruner, setting, 1) for pruner in ("magnitude", "cap") for setting in ("authors", "tuned")
    ]
    assert trials[-1].pruner_options["damp"] == 0.5
    assert trials[-1].calibration.label_source == "drawn"


def test_the_fine_tune_takes_the_published_rate(results: Path) -> None:
    usual = EMBEDDED.recipes.recovery
    assert usual is not None
    assert finetune_recipe(EMBEDDED, "dino") == usual
    found = finetune_recipe(EMBEDDED, "vit")
    assert (found.lr, found.lr_end) == (3e-4, pytest.approx(3e-6))
    assert found.model_copy(update={"lr": usual.lr, "lr_end": usual.lr_end}) == usual


def compared(results: Path, **values: object):
    usual = {"pruner": "cap", "options": {}, "against": ("magnitude",), "models": ("vit", "dino"),
             "sparsities": ("0.5",), "seeds": (0,)}  # fmt: skip
    return plan(**{**usual, "results": results, **values})


def test_a_comparison_in_a_setting(results: Path) -> None:
    found = compared(results, setting="tuned", split="validation")
    assert [(t.model, t.pruner, t.setting, t.evaluation_split) for t in found.trials] == [
        (model, pruner, "tuned", "validation") for model in ("vit", "dino") for pruner in ("cap", "magnitude")
    ]
    assert [t.pruner_options["damp"] for t in found.trials if t.pruner == "cap"] == [0.5, 0.25], "each model's own"
    entry = found.entries()[0]
    assert entry.has_row("cap", '{"damp": 0.25}', "dino")
    assert not entry.has_row("cap", '{"damp": 0.25}', "vit")
    assert '"dino": {"damp": 0.25}' in entry.all_options
    assert found.overrides() == "all run with tuned settings"
    plain, validated = compared(results), compared(results, split="validation")
    assert len({found.name, plain.name, validated.name, compared(results, setting="authors").name}) == 4
    assert {trial.setting for trial in plain.trials} == {None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "train"}, "--split train is not valid: profile embedded evaluates on test or validation"),
        ({"split": "validation", "profile": "imagenet", "models": ("deit_tiny",)}, "imagenet evaluates on test$"),
        ({"setting": "best"}, "--setting best is not valid: choose from authors, tuned"),
        ({"setting": "tuned", "options": {"damp": 1.0}}, "--option damp and --setting tuned set the same: give one"),
        ({"setting": "tuned", "models": ("xcit",)}, "no setting of cap was chosen on xcit in profile embedded yet"),
        ({"setting": "authors", "against": ("cap",)}, "cap stands twice with --setting authors"),
    ],
)
def test_bad_choices_are_one_line(results: Path, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compared(results, **values)


def test_the_authors_setting_is_the_release_s_where_the_profile_is() -> None:
    for model, pruner, changed in (
        ("deit_tiny", "cap", {"block_size": 192, "num_gradients": 4096, "damp": 1e-8}),
        ("resnet50d", "cap", {"block_size": 256, "damp": 1e-8}),
        ("deit_tiny", "woodfisher", {"block_size": 192, "damp": 1e-6}),
    ):
        found = find_configuration(IMAGENET, model, pruner, "authors")
        assert {name: found.pruner_options[name] for name in changed} == changed
        assert found.calibration.model_dump() == {
            "images": 524_288, "batch_size": 128, "gradient": "batch", "label_source": "given", "augmentation": "crops",
        }  # fmt: skip
    other = find_configuration(IMAGENET, "deit_tiny", "obert", "authors")
    assert (other.pruner_options["damp"], other.calibration) == (16 * 1e-7, IMAGENET.calibration)


def test_a_sweep_has_both_settings() -> None:
    trials = load_sweep("authors").trials("imagenet")
    chosen = [t for t in trials if (t.model, t.pruner) == ("deit_tiny", "cap")]
    assert [(t.setting, t.calibration.images, t.calibration.gradient) for t in chosen] == [
        (None, 4096, "sample"), ("authors", 524_288, "batch"),
    ]  # fmt: skip
    assert chosen[0].pruner_options == chosen[1].pruner_options
    assert [t.label for t in chosen] == ["deit_tiny cap seed 0", "deit_tiny cap (authors) seed 0"]
