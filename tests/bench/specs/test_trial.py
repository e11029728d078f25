from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bench import assets
from bench.core.errors import UserError
from bench.specs.recipes import FinetuneSpec
from bench.specs.sweep import Sweep, filter_trials, grid
from bench.specs.trial import Trial

BASE = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "cap", "patterns": ("0.5",)}


def test_id_covers_every_value_and_the_defaults() -> None:
    trial = Trial(**BASE)
    assert trial.id == Trial(**BASE, pruner_options={"block_size": 192}, seed=0).id
    changed = [{"seed": 1}, {"pruner": "woodfisher"}, {"patterns": ("0.6",)}, {"pruner_options": {"damp": 1e-7}},
               {"calibration": {"images": 7}}, {"model": "dino"}]  # fmt: skip
    ids = {Trial(**{**BASE, **change}).id for change in changed}
    assert len(ids | {trial.id}) == len(changed) + 1


def test_id_covers_the_files_behind_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(**BASE)
    before = trial.id
    recorded = assets.checksums()
    for name in ("zoo/vit.safetensors", "zoo/vit.json", *assets.DATA_FILES):
        monkeypatch.setattr(assets, "checksums", lambda name=name: {**recorded, name: "other"})
        assert trial.id != before
    monkeypatch.setattr(assets, "checksums", lambda: {**recorded, "zoo/dino.safetensors": "other"})
    assert trial.id == before
    path = tmp_path / "mine.py"
    ids = set()
    for power in (1, 2):
        path.write_text(
            "import cap\nclass Mine(cap.Pruner):\n    def scores(self, model, layers, calibration):\n"
            f"        return {{n: w.abs() ** {power} for n, w in layers.items()}}\n"
        )
        ids.add(Trial(**{**BASE, "pruner": f"{path}:Mine"}).id)
    assert len(ids) == 2


def test_id_does_not_depend_on_how_it_was_written() -> None:
    one = Trial(**BASE, pruner_options={"damp": 1e-7, "block_size": 8})
    other = Trial(**{**BASE, "patterns": ["0.50"]}, pruner_options={"block_size": 8, "damp": 1e-7})
    assert one.id == other.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pruner": "capp"}, "unknown pruner 'capp': choose from"),
        ({"pruner_options": {"blocksize": 1}}, "no option blocksize: its options are"),
        ({"patterns": ("1.5",)}, "sparsity 1.5 is out of range"),
        ({"patterns": ("4:2",)}, "0 < N < M"),
        ({"epochs": 3}, "Extra inputs are not permitted"),
        ({"finetune_at": ("0.5",)}, "finetune is not"),
        (
            {"finetune_at": ("0.9",), "finetune": FinetuneSpec(epochs=1, images=1, batch_size=1, lr=1, lr_end=1)},
            "lacks",
        ),
        ({"pruner_options": {"num_gradients": 5000}}, "5000 per-sample gradients need as many"),
    ],
)
def test_bad_values_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Trial(**{**BASE, **change})


def test_derived_seeds_differ_by_purpose_and_seed_but_not_by_pruner() -> None:
    cap_trial, other = Trial(**BASE), Trial(**{**BASE, "pruner": "magnitude"})
    assert cap_trial.derived_seed("calibration") == other.derived_seed("calibration")
    assert cap_trial.derived_seed("calibration") != cap_trial.derived_seed("fine-tune")
    assert cap_trial.derived_seed("calibration") != Trial(**BASE, seed=1).derived_seed("calibration")


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


def test_narrow() -> None:
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
