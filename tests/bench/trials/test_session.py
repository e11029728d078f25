from __future__ import annotations

from typing import Any

import pytest

from bench.models.embedded import EmbeddedModel
from bench.specs.trial import ResolvedTrial, Trial
from bench.trials.gate import GateError
from bench.trials.session import TrialSession, load_dense


def resolved(**fields: Any) -> ResolvedTrial:
    values = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "magnitude", "patterns": ("0.5",)}
    values |= {"calibration": {"images": 16}, "evaluation_images": 100, **fields}
    return Trial(**values).resolve()


def test_models_are_loaded_once_and_images_drawn_once_a_group() -> None:
    session = TrialSession()
    dense = session.dense(resolved())
    assert session.dense(resolved(pruner="cap")) is dense
    assert session.dense(resolved(model="convnext")) is not dense
    assert session.dense(resolved()) is dense
    shared = session.calibration(resolved(), share=True)
    own = session.calibration(resolved(), share=False)
    assert (shared.images.share, own.images.share) == (True, False)
    assert own.images.images.data_ptr() == shared.images.images.data_ptr(), "they are not drawn again"
    assert session.calibration(resolved(pruner="cap"), share=True) is shared
    assert session.calibration(resolved(seed=1), share=True) is not shared
    session.forget_calibration()
    again = session.calibration(resolved(), share=True)
    assert again is not shared
    assert again.images.images.equal(shared.images.images)


@pytest.mark.parametrize("share", [True, False])
def test_labels_are_those_that_the_trial_asks_for(share: bool) -> None:
    session, calibration = TrialSession(), {"images": 16, "label_source": "drawn"}
    assert session.calibration(resolved(calibration=calibration), share).images.label_source == "drawn"
    assert session.calibration(resolved(), share).images.label_source == "given"


def test_the_gate_allows_for_the_images_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_dense(resolved()).accuracy
    assert found.n_images == 100
    monkeypatch.setattr(EmbeddedModel, "card", lambda self: {"top1": found.top1 - 5})
    load_dense(resolved())
    monkeypatch.setattr(EmbeddedModel, "card", lambda self: {"top1": 40.0})
    with pytest.raises(GateError, match=r"40\.00 % is recorded"):
        load_dense(resolved())
