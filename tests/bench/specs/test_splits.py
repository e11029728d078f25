from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from bench import assets
from bench.core.errors import UserError
from bench.specs.sweep import Sweep
from bench.specs.trial import Trial

BASE = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "magnitude", "patterns": ("0.5",)}


def test_the_split_is_part_of_the_identity_unless_it_is_the_usual_one() -> None:
    usual, validated = Trial(**BASE), Trial(**BASE, evaluation_split="validation")
    assert Trial(**BASE, evaluation_split="test").id == usual.id != validated.id
    assert "split" not in usual.identity_text()
    assert assets.VALIDATION_FILE not in json.loads(usual.identity_text())["files"]
    files = json.loads(validated.identity_text())["files"]
    assert files[assets.VALIDATION_FILE] == assets.checksums()[assets.VALIDATION_FILE]
    assert set(assets.DATA_FILES) < set(files), "calibration images are training images"


def test_images_are_those_of_the_split() -> None:
    for split in ("validation", "test"):
        resolved = Trial(**BASE, evaluation_split=split).resolve()
        (labels,) = (labels for _, labels in resolved.evaluation_inputs().subset(5, 0).batches(5))
        (known,) = (labels for _, labels in resolved.model.inputs(split).subset(5, 0).batches(5))
        assert labels.equal(known)
        assert resolved.num_evaluated == 10_000


def test_a_profile_without_validation_images_says_so() -> None:
    trial = Trial(**{**BASE, "profile": "imagenet", "model": "deit_tiny"}, evaluation_split="validation")
    with pytest.raises(UserError, match="profile 'imagenet' has no images of 'validation': it has train, test"):
        trial.resolve()


def test_settings_are_not_chosen_on_test_images() -> None:
    tested, validated = Trial(**BASE), Trial(**BASE, evaluation_split="validation")
    Sweep(name="s", title="t", profiles={"embedded": (validated,)}, tuning=True)
    Sweep(name="s", title="t", profiles={"embedded": (tested,)})
    with pytest.raises(ValidationError, match=r"s chooses settings, but its trial vit magnitude seed 0 .* on test"):
        Sweep(name="s", title="t", profiles={"embedded": (tested,)}, tuning=True)
    with pytest.raises(ValidationError, match="evaluated on two splits"):
        Sweep(name="s", title="t", profiles={"embedded": (tested, validated)})
