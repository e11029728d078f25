from __future__ import annotations

import json
from typing import Any

import pytest

import cap
from bench.results.predictions import decode
from bench.results.schema import ResultRow
from bench.specs.trial import Trial
from bench.trials.cost import FitCost
from bench.trials.measurement import Measurement
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial

TRIAL = Trial(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5", "0.75@layer"), seed=3,
              calibration={"images": 16}, evaluation_images=100)  # fmt: skip


def test_every_row_carries_the_identity_and_what_was_measured() -> None:
    seen: list[tuple[Measurement, ResultRow]] = []
    recorder = TrialRecorder(TRIAL.resolve(), on_measured=lambda *state: seen.append(state))
    assert run_trial(TRIAL, recorder) is recorder
    assert recorder.patterns == {None, "0.5", "0.75@layer"}
    for row in recorder.rows:
        assert (row.trial_id, row.model, row.pruner, row.seed) == (TRIAL.id, "vit", "magnitude", 3)
        assert (row.status, row.n_images, row.timm_name) == ("done", 100, "deit_tiny_patch16_224")
    dense, half, most = recorder.rows
    assert (dense.sparsity_target, dense.top1_drop, dense.agreement) == (0.0, 0.0, 100.0)
    assert half.sparsity_prunable == pytest.approx(0.5, abs=1e-5)
    assert half.macs_sparse < dense.macs_sparse == dense.macs_dense
    assert half.top1_rel_drop == pytest.approx(100 * (dense.top1 - half.top1) / dense.top1)
    assert half.fit_seconds > 0
    assert [row for _, row in seen] == [half, most], "the dense model is no pruned one"
    assert seen[1][0].pattern == cap.Unstructured(0.75, "layer")
    layers = [layer for layer in recorder.layer_rows if layer.pattern == "0.75@layer"]
    assert len(layers) == 16
    assert all(layer.sparsity == layer.zeros / layer.weights == pytest.approx(0.75) for layer in layers)


def test_what_could_not_be_measured_is_told() -> None:
    recorder = TrialRecorder(TRIAL.resolve())
    recorder.skipped(cap.NM(2, 4), "no groups", "one_shot", FitCost(fit_seconds=2.0, num_gradients=7))
    recorder.skipped(cap.Unstructured(0.5), "not so", "finetuned")
    recorder.failed("ValueError: no")
    recorder.timed_out("too long")
    columns = ("status", "error", "pattern", "phase", "fit_seconds", "num_gradients", "prune_seconds", "top1")
    assert [tuple(getattr(row, name) for name in columns) for row in recorder.rows] == [
        ("skipped", "no groups", "2:4", "one_shot", 2.0, 7, None, None),
        ("skipped", "not so", "0.5", "finetuned", None, None, None, None),
        ("failed", "ValueError: no", None, None, None, None, None, None),
        ("timeout", "too long", None, None, None, None, None, None),
    ]


def test_rows_are_restored_as_they_were() -> None:
    recorder, other = TrialRecorder(TRIAL.resolve()), TrialRecorder(TRIAL.resolve())
    run_trial(TRIAL, recorder)
    other.failed("of a run before")
    other.load_state_dict(json.loads(json.dumps(recorder.state_dict())))  # plain values alone
    assert other.rows == recorder.rows
    assert other.layer_rows == recorder.layer_rows
    assert other.predictions == recorder.predictions


def test_predictions_of_single_images_are_kept() -> None:
    recorder = run_trial(TRIAL)
    assert [(row.pattern, row.phase) for row in recorder.predictions] == [
        (None, "dense"), ("0.5", "one_shot"), ("0.75@layer", "one_shot"),
    ]  # fmt: skip
    labels = next(TRIAL.resolve().evaluation_inputs().batches(100))[1]
    for row, state in zip(recorder.rows, recorder.predictions, strict=True):
        classes = decode(state.classes, 100)
        assert (decode(state.labels, 100) == labels.numpy()).all()
        assert row.top1 == pytest.approx(100 * (classes == labels.numpy()).mean())


@pytest.mark.parametrize(
    ("costs", "total"),
    [
        ([FitCost(1.0, 0.5, 0.25, 100, 8), FitCost(2.0, 0.0, 0.25, 50, 4)], FitCost(3.0, 0.5, 0.5, 100, 4)),
        ([FitCost(), FitCost(1.0, peak_bytes=3)], FitCost(1.0, peak_bytes=3)),
        ([FitCost(peak_bytes=3), FitCost()], FitCost(peak_bytes=3)),
    ],
)
def test_costs_add_up(costs: list[Any], total: FitCost) -> None:
    assert costs[0] + costs[1] == total
