from __future__ import annotations

import json

import pytest

import cap
from bench import assets
from bench.core.errors import UserError
from bench.execution.preflight import check_trials
from bench.specs.trial import Trial

BASE = {"sweep": "s", "profile": "embedded", "model": "xcit", "pruner": "magnitude", "patterns": ("0.5",)}


def test_a_dense_seed_is_part_of_the_identity_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seeded = Trial(**BASE), Trial(**BASE, dense_seed=0)
    assert "dense_seed" not in plain.identity_text()
    assert len({plain.id, seeded.id, Trial(**BASE, dense_seed=1).id}) == 3
    assert Trial(**BASE, dense_seed=None).id == plain.id
    monkeypatch.setattr(assets, "checksums", lambda: {"zoo/xcit-0.safetensors": "abc"})
    files = json.loads(seeded.identity_text())["files"]
    assert files["zoo/xcit-0.safetensors"] == "abc"
    assert "zoo/xcit.safetensors" not in files


def test_trials_of_different_dense_models_share_nothing() -> None:
    groups = {Trial(**BASE, dense_seed=seed).group for seed in (None, 0, 1)}
    assert len(groups) == 3, "gradients of one model are not those of another"


def test_the_model_is_that_of_the_seed() -> None:
    resolved = Trial(**BASE, dense_seed=3).resolve()
    assert resolved.model.files[0] == "zoo/xcit-3.safetensors"
    assert any("local_mp" in pattern for pattern in resolved.model.prunable)
    assert not any("local_mp" in pattern for pattern in Trial(**BASE).resolve().model.prunable)


def test_depthwise_convolutions_stay_dense_where_all_patterns_are_n_m() -> None:
    """Their weights have one input each; at sparsities they are pruned as in the paper."""
    layers = {
        patterns: cap.select_layers(model.outline(), model.prunable)
        for patterns in (("2:4",), ("2:4", "1:4"), ("0.5",), ("0.5", "2:4"))
        for model in [Trial(**{**BASE, "patterns": patterns}, dense_seed=0).resolve().model]
    }
    grouped, both, plain, mixed = layers.values()
    assert grouped.keys() == both.keys()
    assert cap.shape_mismatch(grouped, cap.NM(2, 4)) is None
    assert "local_mp" in (cap.shape_mismatch(plain, cap.NM(2, 4)) or "")
    assert plain.keys() == mixed.keys()
    assert {name for name in plain if name not in grouped} == {name for name in plain if "local_mp" in name}
    assert Trial(**{**BASE, "patterns": ("2:4",)}).resolve().model.prunable == Trial(**BASE).resolve().model.prunable


def test_a_seed_that_was_not_trained_is_told_before_any_work() -> None:
    line = "xcit was not trained with seed 977 yet: nox -s train_zoo -- --model xcit --seeds 977"
    with pytest.raises(UserError, match=line):
        check_trials([Trial(**BASE, dense_seed=977)])
    with pytest.raises(UserError, match="dino has one set of weights: leave dense_seed out"):
        Trial(**{**BASE, "model": "dino"}, dense_seed=0).resolve()
    imagenet = {**BASE, "profile": "imagenet", "model": "deit_tiny"}
    with pytest.raises(UserError, match="deit_tiny has one set of weights: leave dense_seed out"):
        Trial(**imagenet, dense_seed=0).resolve()
