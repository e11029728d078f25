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


def test_a_trial_stands_once_in_a_sweep() -> None:
    [trial] = grid(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",))
    with pytest.raises(ValidationError, match=r"vit magnitude seed 0 .* stands twice in embedded"):
        Sweep(name="s", title="t", profiles={"embedded": (trial, trial)})
