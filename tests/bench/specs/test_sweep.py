from __future__ import annotations

import pytest
from pydantic import ValidationError

from bench.core.errors import UserError
from bench.specs.sweep import Sweep, filter_trials, grid
from bench.specs.trial import Trial

BASE = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "cap", "patterns": ("0.5",)}


def test_grid_is_a_product() -> None:
    constants = {key: value for key, value in BASE.items() if key not in ("pruner", "model")}
    pruners = [{"pruner": "cap", "pruner_options": {"damp": 1e-7}}, {"pruner": "magnitude"}]
    trials = grid(**constants, model=["vit", "dino"], which=pruners)
    assert [(t.model, t.pruner) for t in trials] == [
        ("vit", "cap"), ("vit", "magnitude"), ("dino", "cap"), ("dino", "magnitude"),
    ]  # fmt: skip
    assert trials[0].pruner_options["damp"] == 1e-7
    assert trials[0].patterns == ("0.5",)


def test_a_sweep_owns_its_trials() -> None:
    with pytest.raises(ValidationError, match="a trial of s/embedded stands in other/embedded"):
        Sweep(name="other", title="", profiles={"embedded": (Trial(**BASE),)})
    sweep = Sweep(name="s", title="", profiles={"embedded": (Trial(**BASE),)})
    with pytest.raises(UserError, match="no profile 'cluster': choose from embedded"):
        sweep.trials("cluster")


def test_filters() -> None:
    trials = grid(**{**BASE, "model": ["vit", "xcit", "dino"], "pruner": ["cap", "magnitude"], "seed": [0, 1]})
    assert {t.model for t in filter_trials(trials, ["model=vit", "model=dino", "pruner=cap"])} == {"vit", "dino"}
    assert len(filter_trials(trials, ["model=vit", "model=dino", "pruner=cap"], [1])) == 2
    assert {t.model for t in filter_trials(trials, ["family=hybrid"])} == {"xcit"}
    assert filter_trials(trials) == trials
    for only, message in (("size=3", "key of model, family, pruner"), ("model=swin", "choose from dino, vit, xcit")):
        with pytest.raises(UserError, match=message):
            filter_trials(trials, [only])
    with pytest.raises(UserError, match="no seed 9: choose from 0, 1"):
        filter_trials(trials, seeds=[9])


RECIPE = {"images": 64, "batch_size": 32, "lr": 1e-3, "lr_end": 1e-4}
TUNED = {"patterns": ("0.5", "0.75@layer", "2:4"), "finetune_at": ("0.5",), "finetune": {"epochs": 20, **RECIPE}}
GRADUAL = {
    "patterns": ("0.5", "0.75"),
    "training": {"regime": "gradual", "epochs": 10, "period": 2, "knots": ((0, 0.5), (2, 0.75)), **RECIPE},
}


def test_parts_by_sparsity() -> None:
    tuned, gradual = Trial(**{**BASE, **TUNED}), Trial(**{**BASE, **GRADUAL})
    [part, whole] = filter_trials((tuned, gradual), ["sparsity=.5"])
    assert (part.patterns, part.finetune_at, part.finetune) == (("0.5", "2:4"), ("0.5",), tuned.finetune)
    assert whole == gradual, "what is pruned during training is one training"
    [part, whole] = filter_trials((tuned, gradual), ["sparsity=0.75"])
    assert (part.patterns, part.finetune_at, part.finetune) == (("0.75@layer",), (), None)
    assert part.id != tuned.id
    assert filter_trials((tuned, gradual), ["sparsity=0.5", "sparsity=0.75"]) == (tuned, gradual)
    for text in ("sparsity=0.9", "sparsity=half"):
        with pytest.raises(UserError, match=f"no trial has {text}: choose from 0.5, 0.75$"):
            filter_trials((tuned, gradual), [text])


def test_parts_without_training() -> None:
    tuned, gradual = Trial(**{**BASE, **TUNED}), Trial(**{**BASE, **GRADUAL})
    for [part] in (
        filter_trials((tuned, gradual), ["phase=one_shot"]),
        filter_trials((tuned, gradual), finetune=False),
    ):
        assert (part.patterns, part.finetune_at, part.recipe) == (tuned.patterns, (), None)
    with pytest.raises(UserError, match=r"no trial has phase=int8: choose from one_shot"):
        filter_trials((tuned, gradual), ["phase=int8"])
    with pytest.raises(UserError, match="no trial matches --no-finetune"):
        filter_trials((gradual,), finetune=False)


def test_filters_by_epochs_and_setting() -> None:
    tuned, gradual, plain = Trial(**{**BASE, **TUNED}), Trial(**{**BASE, **GRADUAL}), Trial(**BASE, setting="authors")
    trials = tuned, gradual, plain
    assert filter_trials(trials, ["epochs=20"]) == (tuned,)
    assert filter_trials(trials, ["epochs=10", "epochs=0"]) == (gradual, plain)
    assert filter_trials(trials, ["setting=authors"]) == (plain,)
    assert filter_trials(trials, ["setting=profile"]) == (tuned, gradual)
    with pytest.raises(UserError, match="no trial has epochs=3: choose from 0, 10, 20"):
        filter_trials(trials, ["epochs=3"])


def test_a_trial_stands_once_in_a_sweep() -> None:
    [trial] = grid(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",))
    with pytest.raises(ValidationError, match=r"vit magnitude seed 0 .* stands twice in embedded"):
        Sweep(name="s", title="t", profiles={"embedded": (trial, trial)})
