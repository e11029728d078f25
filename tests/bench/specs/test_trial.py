from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bench import assets
from bench.specs.profiles import EMBEDDED
from bench.specs.recipes import FinetuneSpec
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
            "import cap\nclass Mine(cap.ScorePruner):\n    def scores(self, model, layers, calibration):\n"
            f"        return {{n: w.abs() ** {power} for n, w in layers.items()}}\n"
        )
        ids.add(Trial(**{**BASE, "pruner": f"{path}:Mine"}).id)
    assert len(ids) == 2


def test_options_and_labels_added_later_leave_ids_as_they_were() -> None:
    """Those of before are in no identity; others are."""
    for added in ('"schedule"', '"damp_scale"', '"fresh_gradients"', '"label_source"'):
        assert added not in Trial(**BASE).identity_text()
    ids = {
        Trial(**BASE, **change).id
        for change in (
            {},
            {"pruner_options": {"schedule": "geometric"}},
            {"pruner_options": {"damp_scale": "relative"}},
            {"pruner_options": {"fresh_gradients": True}},
            {"calibration": {"label_source": "drawn"}},
        )
    }
    assert len(ids) == 5


def test_fields_added_later_are_left_out_of_the_id_where_they_stand_alone(tmp_path: Path) -> None:
    """A pruner's option of the same name counts; so does another value than that of before."""
    assert Trial(**BASE, quantization=None, evaluation_images=None).id == Trial(**BASE).id
    assert Trial(**BASE, evaluation_images=100).id != Trial(**BASE).id
    training = {"epochs": 1, "images": 1, "batch_size": 1, "lr": 1, "lr_end": 1}
    recipes = [FinetuneSpec(**training), FinetuneSpec(**training, precision="float32"),
               FinetuneSpec(**training, warmup=0.0, ema=0.0), FinetuneSpec(**training, precision="bfloat16"),
               FinetuneSpec(**training, warmup=0.1), FinetuneSpec(**training, ema=0.9)]  # fmt: skip
    ids = [Trial(**BASE, finetune_at=("0.5",), finetune=recipe).id for recipe in recipes]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 4
    path = tmp_path / "mine.py"
    path.write_text(
        "import cap\nclass Mine(cap.ScorePruner):\n"
        "    def __init__(self, precision='float32', quantization=None): pass\n"
        "    def scores(self, model, layers, calibration): return {n: w.abs() for n, w in layers.items()}\n"
    )
    options = ({"precision": "float32"}, {"precision": "half"}, {"quantization": 8}, {"quantization": None})
    mine = [Trial(**{**BASE, "pruner": f"{path}:Mine"}, pruner_options=option) for option in options]
    assert len({trial.id for trial in mine}) == 3
    canonical = mine[0].identity_text()
    assert '"precision":"float32"' in canonical
    assert '"quantization":null' in canonical


def test_an_option_added_later_is_left_out_of_the_id_where_it_says_what_was_done_before() -> None:
    fields = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "obc", "patterns": ("0.5@layer",)}
    plain, given, other = (
        Trial.model_validate({**fields, "pruner_options": options})
        for options in ({"damp": 0.1}, {"damp": 0.1, "allocation": "layer"}, {"damp": 0.1, "allocation": "error"})
    )
    assert '"pruner_options":{"damp":0.1}' in plain.identity_text()
    assert plain.id == given.id != other.id


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


def test_names_tell_what_is_unusual() -> None:
    """Options against those of the profile, patterns that rank other weights together, training."""
    usual = EMBEDDED.pruner_options("woodfisher")
    values = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "woodfisher", "patterns": ("0.5",)}
    assert Trial(**values, pruner_options=usual).label == "vit woodfisher seed 0"
    others = {**usual, "block_size": 16, "damp": 1e-3}
    assert Trial(**values, pruner_options=others).label == "vit woodfisher block_size=16 damp=0.001 seed 0"
    layer = {**values, "patterns": ("0.5@layer", "0.75@layer")}
    assert Trial(**layer, pruner_options=usual).label == "vit woodfisher per layer seed 0"
    mixed = {**values, "patterns": ("0.5", "0.5@layer")}
    assert Trial(**mixed, pruner_options=usual).label == "vit woodfisher seed 0"
    gradual = {**values, "training": EMBEDDED.recipes.gradual, "pruner_options": usual}
    assert Trial(**gradual).label == "vit woodfisher gradual seed 0"
    drawn = Trial(**values, pruner_options=usual, calibration={"label_source": "drawn"}, batch_norm="reestimated")
    assert drawn.label == "vit woodfisher label_source=drawn batch_norm=reestimated seed 0"
    means = {"gradient": "batch", "batch_size": 8}
    assert Trial(**values, pruner_options=usual, calibration=means).label.endswith("gradient=batch batch_size=8 seed 0")
    slow = EMBEDDED.recipes.finetune.model_copy(update={"lr": 3e-5})
    assert Trial(**values, pruner_options=usual, finetune_at=("0.5",), finetune=slow).label.endswith("lr=3e-05 seed 0")
