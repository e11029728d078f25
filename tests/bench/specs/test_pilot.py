from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.specs.discovery import load_sweep
from bench.specs.pilot import pilot_sweep
from bench.specs.sweep import Sweep, grid


def test_a_pilot_is_another_sweep_on_few_images() -> None:
    sweep = load_sweep("table1")
    pilot = pilot_sweep(sweep, "imagenet", 100)
    assert (pilot.name, list(pilot.profiles)) == ("table1_pilot100", ["imagenet"])
    trials = pilot.trials("imagenet")
    assert len(trials) == len(sweep.trials("imagenet"))
    assert not {trial.id for trial in trials} & {trial.id for trial in sweep.trials("imagenet")}
    cap_trial = next(trial for trial in trials if trial.pruner == "cap")
    assert (cap_trial.pilot_images, cap_trial.evaluation_images, cap_trial.calibration.images) == (100, 100, 100)
    assert cap_trial.pruner_options["num_gradients"] == 100
    assert cap_trial.finetune is not None
    assert (cap_trial.finetune.images, cap_trial.finetune.batch_size, cap_trial.finetune.epochs) == (100, 100, 20)
    assert cap_trial.resolve().num_evaluated == 100
    assert cap_trial.label.endswith("seed 0 pilot of 100 images")
    assert "num_gradients" not in cap_trial.label, "that it has fewer goes without saying"


def test_other_sizes_are_other_pilots() -> None:
    sweep = load_sweep("table1")
    ids = [{trial.id for trial in pilot_sweep(sweep, "embedded", images).trials("embedded")} for images in (32, 33)]
    assert not ids[0] & ids[1]


def test_nothing_grows_in_a_pilot() -> None:
    trials = grid(
        sweep="s", profile="embedded", model="vit", pruner="cap", pruner_options={"num_gradients": 4},
        patterns=("0.5",), calibration={"images": 32, "batch_size": 8, "gradient": "batch"}, evaluation_images=50,
    )  # fmt: skip
    [pilot] = pilot_sweep(Sweep(name="s", title="S", profiles={"embedded": trials}), "embedded", 64).trials("embedded")
    assert (pilot.evaluation_images, pilot.calibration, pilot.pruner_options["num_gradients"]) == (
        50, trials[0].calibration, 4,
    )  # fmt: skip


def test_bad_numbers_of_images() -> None:
    with pytest.raises(UserError, match="--images 0 is not valid: give at least 1"):
        pilot_sweep(load_sweep("table1"), "embedded", 0)
    with pytest.raises(UserError, match="has no profile 'laptop'"):
        pilot_sweep(load_sweep("table1"), "laptop", 5)
