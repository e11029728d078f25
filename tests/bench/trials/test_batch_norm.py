from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.optim.swa_utils import update_bn

from bench import model_text
from bench.core.errors import UserError
from bench.execution.preflight import check_trials
from bench.execution.stored import find_trial
from bench.results.store import Store
from bench.specs.recipes import GradualSpec
from bench.specs.trial import Trial
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial
from bench.trials.session import TrialSession


@pytest.fixture
def make(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trials of a network with batch normalisation on a few pictures."""
    monkeypatch.chdir(own_folder)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    model = model_text("timm:test_resnet", weights="net.safetensors", transform={"input_size": 32})
    values = {"sweep": "s", "profile": "imagefolder:photos", "model": model, "pruner": "magnitude",
              "patterns": ("0.5", "0.75"), "calibration": {"images": 12, "batch_size": 6}}  # fmt: skip
    return lambda **fields: Trial(**{**values, **fields})


def run(trial: Trial) -> tuple[TrialRecorder, list[torch.nn.Module]]:
    models: list[torch.nn.Module] = []
    recorder = TrialRecorder(trial.resolve(), on_measured=lambda found, _: models.append(copy.deepcopy(found.model)))
    return run_trial(trial, recorder), models


def test_statistics_of_pruned_models_are_estimated_where_asked_for(make: Any) -> None:
    """Of each by its own weights, from the trial's calibration images; the mask is the same, and the cost counts it."""
    kept, settled = make(), make(batch_norm="reestimated")
    (before, old), (after, new) = run(kept), run(settled)
    images = TrialSession().calibration(settled.resolve(), share=False).images.images
    for model, other in zip(old, new, strict=True):
        update_bn(images.split(6), model)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, msg=name)
    assert [row.batch_norm for row in before.rows] == ["kept"] * 3
    assert [row.batch_norm for row in after.rows] == ["reestimated"] * 3
    assert before.rows[0].top1 == after.rows[0].top1, "the dense model keeps its own"
    for row, other in zip(before.rows[1:], after.rows[1:], strict=True):
        assert row.loss != other.loss
        assert row.sparsity_prunable == other.sparsity_prunable
        assert other.violations == 0
        assert row.observed_loss_increase == other.observed_loss_increase, "which is that of the pruning alone"
        assert other.prune_seconds > row.prune_seconds / 100


def test_it_is_part_of_the_identity_only_where_it_is_asked_for(make: Any) -> None:
    assert make(batch_norm="kept").id == make().id != make(batch_norm="reestimated").id
    assert "batch_norm" not in json.loads(make().identity_text())


def test_a_stored_trial_is_made_again_with_it(make: Any, tmp_path: Path) -> None:
    trial = make(batch_norm="reestimated", calibration={"images": 12, "batch_size": 6, "label_source": "drawn"})
    recorder, _ = run(trial)
    Store(tmp_path, trial.profile, trial.sweep).write(trial.id, recorder.rows, recorder.layer_rows)
    assert find_trial(trial.id, tmp_path).trial == trial


def test_what_it_is_not_for_is_refused_before_any_work(make: Any) -> None:
    with pytest.raises(ValidationError, match="'kept' or 'reestimated'"):
        make(batch_norm="fresh")
    recipe = GradualSpec(epochs=2, images=4, batch_size=2, lr=1e-3, lr_end=1e-4, period=1, knots=((0, 0.5),))
    with pytest.raises(ValidationError, match="batch_norm belongs to one-shot pruning"):
        make(batch_norm="reestimated", training=recipe, patterns=("0.5",))
    vit = model_text("timm:test_vit", weights="vit.safetensors")
    check_trials((make(batch_norm="reestimated"),))
    with pytest.raises(UserError, match="has no batch normalisation: leave batch_norm out"):
        check_trials((make(model=vit, batch_norm="reestimated"),))
