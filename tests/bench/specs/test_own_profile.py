"""Profiles of a user's own: by a text of data, in a file; the trials of them are known in any process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import cap
from bench.core.errors import UserError
from bench.results.folders import profile_folder
from bench.specs.profiles import OwnProfile, get_profile
from bench.specs.trial import Trial, model_notes
from bench.trials.gate import GateError
from bench.trials.session import load_dense

PROFILE = """
from bench import own_model, own_profile

DATA = "imagefolder:photos"
NET = own_model("timm:test_resnet", DATA, name="net", weights="net.safetensors", transform={"input_size": 32}, **MORE)
PROFILE = own_profile(DATA, {"net": NET})
NUMBER = 3
"""


@pytest.fixture
def here(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with a profile, where commands are called."""
    shutil.copytree(own_folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    write_profile()
    return tmp_path / "here"


def write_profile(**more: Any) -> None:
    Path("my_profile.py").write_text(PROFILE.replace("**MORE", f"**{more!r}"))


def trial(**values: Any) -> Trial:
    usual = {"profile": "my_profile.py:PROFILE", "model": "net", "pruner": "magnitude", "patterns": ("0.5",)}
    return Trial(sweep="mine", **{**usual, **values})


def test_a_profile_of_a_file(here: Path) -> None:
    found = get_profile("./my_profile.py:PROFILE")
    assert isinstance(found, OwnProfile)
    assert found.name == "my_profile.py:PROFILE"
    assert list(found.models) == ["net"]
    assert found.splits == {"calibration": 12, "tuning": 6, "validation": 3, "test": 9}
    assert found.calibration.images == 12
    assert found.pruner_options("cap")["num_gradients"] == 12
    assert found.recipes.finetune.images == 6
    assert found.pruner_options("snows")["first_options"]["damp_scale"] == "relative"
    assert "damp" not in found.pruner_options("fastcap"), "whose dampening is relative to its own Fisher"
    assert found.model("timm:test_vit").name == "timm:test_vit", "any other model, by its text"


def test_data_stand_for_a_profile(here: Path) -> None:
    found = get_profile("imagefolder:photos")
    assert found.name == "imagefolder:photos"
    assert found.model("timm:test_resnet?weights=net.safetensors").num_classes == 3
    Path("my_data.py").write_text(
        "def load(): return [(f'photos/{c}/{n}.png', c) for c in ('cat', 'owl') for n in range(9)]"
    )
    assert get_profile("my_data.py:load").splits["calibration"] == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos", "unknown profile 'photos': choose from embedded, imagenet, .*, or give my_profile.py:PROFILE"),
        ("photo:photos", "unknown data 'photo:photos': give imagefolder:FOLDER"),
        ("none.py:PROFILE", "none.py does not exist"),
        ("my_profile.py:OTHER", "my_profile.py has no OTHER; it has"),
        ("my_profile.py:NUMBER", "my_profile.py:NUMBER is a int: it must be a bench.Profile, or a function of data"),
    ],
)
def test_profiles_that_are_not_there(name: str, message: str, here: Path) -> None:
    with pytest.raises(UserError, match=message):
        get_profile(name)


def test_one_relative_dampening_for_every_pruner_on_the_fisher(here: Path) -> None:
    """A loss in other units must not change what a network that nobody tuned for is pruned to."""
    found = get_profile("my_profile.py:PROFILE")
    dampened = [name for name in cap.available() if "damp_scale" in cap.default_options(name)]
    assert set(dampened) >= {"cap", "woodfisher", "obert", "mfac", "chita"}
    chosen = [found.pruner_options(name) for name in dampened]
    assert {(one["damp_scale"], one["damp"]) for one in chosen} == {("relative", 0.1)}
    assert trial(pruner="cap", pruner_options={}).resolve().pruner().damp_scale == "absolute", "the library's own stays"


def test_models_that_are_not_there(here: Path) -> None:
    with pytest.raises(UserError, match="unknown model 'vit' with data imagefolder:photos: give timm:NAME"):
        get_profile("imagefolder:photos").model("vit")
    with pytest.raises(UserError, match=r"unknown model 'vit' in profile 'my_profile\.py:PROFILE': choose from net"):
        get_profile("my_profile.py:PROFILE").model("vit")


def test_the_identity_is_that_of_all_files(here: Path) -> None:
    text = {"profile": "imagefolder:photos", "model": "timm:test_resnet?weights=net.safetensors"}
    before = [trial().id, trial(**text).id]
    assert [trial().id, Trial.model_validate_json(trial(**text).model_dump_json()).id] == before
    write_profile(top1=90)
    assert trial().id != before[0]
    write_profile()
    assert trial().id == before[0]
    shutil.copy("five.safetensors", "net.safetensors")
    assert trial().id != before[0]
    assert trial(**text).id != before[1]


def test_an_expected_accuracy_is_a_gate(here: Path) -> None:
    reached = load_dense(trial().resolve()).accuracy
    assert reached.n_images == 9
    write_profile(top1=reached.top1)
    load_dense(trial().resolve())
    write_profile(top1=reached.top1 + 100 / 9)  # one image of nine
    load_dense(trial().resolve())
    write_profile(top1=reached.top1 + 100 / 9 + 1)
    with pytest.raises(GateError, match="net reaches"):
        load_dense(trial().resolve())


def test_the_notes_name_each_model_and_data_once(here: Path) -> None:
    lines = list(model_notes([trial(), trial(seed=1), trial(model="timm:test_vit")]))
    assert [line.partition(" ")[0] for line in lines] == ["net", "imagefolder:photos:", "timm:test_vit"]
    assert list(model_notes([trial(profile="embedded", model="vit")])) == []


def test_every_profile_has_a_folder_of_its_own() -> None:
    assert profile_folder("embedded") == "embedded"
    names = ("imagefolder:a/b", "imagefolder:a-b", "../b.py:PROFILE", "b.py:PROFILE", "hub:" + 100 * "x")
    folders = [profile_folder(name) for name in names]
    assert len(set(folders)) == len(names)
    assert all("/" not in one and len(one) < 60 and not one.startswith(".") for one in folders)
