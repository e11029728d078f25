from __future__ import annotations

from collections import Counter

import pytest

from bench.core.errors import UserError
from bench.specs.discovery import load_sweep
from bench.specs.profiles import EMBEDDED
from bench.specs.search_spaces import search_spaces
from bench.specs.tuning import RATES, tuning_sweep


def test_every_pruner_has_the_same_number_of_tries_on_every_model() -> None:
    sweep = load_sweep("tuning")
    assert sweep.tuning
    trials = sweep.trials("embedded")
    assert {trial.evaluation_split for trial in trials} == {"validation"}
    assert {(trial.seed, trial.dense_seed, trial.evaluation_images) for trial in trials} == {(0, 0, None)}
    plain = [trial for trial in trials if trial.finetune is None]
    counts = Counter((trial.model, trial.pruner) for trial in plain)
    for pruner, space in search_spaces(EMBEDDED.calibration.images).items():
        wanted = min(12, len(space.draw(10**4, 0)))
        assert [counts[model, pruner] for model in EMBEDDED.seeded_models] == [wanted] * len(EMBEDDED.seeded_models)
    settings = {
        model: [(t.pruner, str(t.pruner_options), t.calibration) for t in plain if t.model == model]
        for model in EMBEDDED.seeded_models
    }
    assert {trial.model for trial in trials} == set(settings), "what has one set of weights is not chosen on"
    assert all(trial.id for trial in trials)
    assert all(found == settings["vit"] for found in settings.values()), "drawn once for all models"


def test_patterns_are_over_all_layers_where_a_pruner_has_them() -> None:
    trials = tuning_sweep("embedded", ["cap", "obc", "wanda"], ["vit"]).trials("embedded")
    found = {trial.pruner: trial.patterns for trial in trials}
    assert found["cap"] == found["obc"] == ("0.5", "0.75", "0.9")
    assert found["wanda"] == ("0.5@layer", "0.75@layer", "0.9@layer")
    assert not any(trial.finetune for trial in trials), "the rate of the fine-tune is no pruner's"


def test_the_rates_of_the_fine_tune() -> None:
    trials = [trial for trial in tuning_sweep("embedded", models=["vit"]).trials("embedded") if trial.finetune]
    assert [(t.pruner, t.finetune.lr) for t in trials if t.finetune] == [
        (pruner, rate) for pruner in ("magnitude", "cap") for rate in RATES
    ]
    recipe = EMBEDDED.recipes.recovery
    assert recipe is not None
    for trial in trials:
        assert trial.finetune is not None
        assert trial.finetune.lr_end == pytest.approx(trial.finetune.lr / 100)
        assert trial.finetune.at_rate(recipe.lr) == recipe, "one rule for all"
        assert trial.patterns == trial.finetune_at == ("0.75",)


def test_a_users_pruner_gets_the_same_trials(mine: str) -> None:
    sweep = tuning_sweep("embedded", [f"{mine}:Mine"], ["vit"], count=4, images=100, seeded=False)
    trials = sweep.trials("embedded")
    assert len(trials) == 4
    assert {(trial.dense_seed, trial.evaluation_images) for trial in trials} == {(None, 100)}
    assert len({trial.id for trial in trials}) == 4


def test_what_cannot_be_tuned_is_refused() -> None:
    for values, message in (
        ({"profile": "imagenet", "pruners": ["cap"], "models": ["deit_tiny"]}, None),
        ({"pruners": ["capp"]}, "unknown pruner 'capp': choose from"),
        ({"pruners": ["cap", "cap"]}, "--pruner has cap twice"),
        ({"pruners": ["compose"]}, "compose declares no search space"),
        ({"models": ["resnet"]}, "unknown model 'resnet' in profile 'embedded'"),
    ):
        if message is None:
            trial = tuning_sweep(**values).trials("imagenet")[0]
            with pytest.raises(UserError, match="profile 'imagenet' has no images of 'validation'"):
                trial.resolve()
            assert trial.dense_seed is None
        else:
            with pytest.raises(UserError, match=message):
                tuning_sweep(**values)
