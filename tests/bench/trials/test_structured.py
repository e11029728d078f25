"""Trials whose patterns remove units."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest
import torch

import bench
import cap
from bench.core.errors import UserError
from bench.execution.preflight import check_models, skipped_patterns
from bench.export.model import write_files
from bench.export.source import run
from bench.models import get_model
from bench.results.schema import ResultRow
from bench.results.validity import mark_invalid
from bench.specs.calibration import CalibrationSpec
from bench.specs.trial import Trial
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial
from bench.trials.structured import find_invalid_units, merge_steps
from cap.structured import cut, find_units, removed_units

pytest.importorskip("torch_pruning", reason="the extra structured is not installed")


def trial(*patterns: str, pruner: str = "magnitude", model: str = "vit") -> Trial:
    return Trial(
        sweep="s", profile="embedded", model=model, pruner=pruner, patterns=patterns,
        calibration=CalibrationSpec(images=32), evaluation_images=200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> dict[str | None, ResultRow]:
    recorder = run_trial(trial("0.5@units", "0.25@units+0.5", "0.5"))
    return {row.pattern: row for row in recorder.rows}


def test_the_cut_model_is_smaller_and_computes_the_same(rows: dict[str | None, ResultRow]) -> None:
    row = rows["0.5@units"]
    assert row.violations == 0
    assert row.cut_deviation is not None
    assert row.cut_deviation < 1e-5
    assert row.sparsity_prunable == pytest.approx(0.5, abs=0.02)
    weights = 4 * (3 * 64 * 64 + 64 * 64 + 2 * 64 * 256)
    assert row.params_dense - row.params_small == pytest.approx(row.sparsity_prunable * weights, rel=0.02)
    assert row.params_small < row.params_nonzero  # biases of removed units are not zero, but gone
    assert row.macs_small <= row.macs_sparse < row.macs_dense  # products within removed heads are gone as well
    assert min(row.latency_small, row.latency_dense) > 0


def test_unstructured_on_top_is_counted_in_the_dense_model(rows: dict[str | None, ResultRow]) -> None:
    row = rows["0.25@units+0.5"]
    assert row.violations == 0
    assert row.sparsity_target == 0.625
    assert row.sparsity_prunable == pytest.approx(0.625, abs=0.02)
    assert row.params_small > row.params_nonzero
    assert rows["0.5"].params_small is None


def test_two_steps_are_the_same_as_pruning_the_smaller_model() -> None:
    spec = get_model("embedded", "vit")
    model, images = spec.load(), torch.randn(8, *spec.input_shape, generator=torch.Generator().manual_seed(0))
    layers = cap.select_layers(model, spec.prunable)
    units = find_units(model, layers, images)
    pruner = cap.create("magnitude")
    pruner.units = units
    calibration = cap.Calibration(images, torch.zeros(8, dtype=torch.int64))
    first = pruner.fit(model, layers, calibration).prune("0.5@units")
    first.apply_to(model)
    small = cut(model, units, removed_units(units, first.weights), images)
    second = cap.create("magnitude").fit(small, cap.select_layers(small, spec.prunable), calibration).prune(0.5)
    merge_steps(first, units, second).apply_to(model)
    second.apply_to(small)
    with torch.no_grad():
        torch.testing.assert_close(model(images), small(images), rtol=0, atol=1e-5)


def test_other_pruners_skip_units_before_and_in_a_trial() -> None:
    refused = trial("0.5@units", "0.5@units+0.5", pruner="gradient_weight")
    assert all("removes single weights" in line for line in skipped_patterns([refused]))
    recorder = run_trial(refused)
    assert [row.status for row in recorder.rows[1:]] == ["skipped", "skipped"]


def test_a_missing_package_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs torch_pruning: pip install .*structured"):
        check_models([trial("0.5@units")])


def test_an_exported_model_is_loaded_without_its_units(tmp_path) -> None:
    pruned = run(trial("0.5@units"))
    written = write_files(pruned, tmp_path, ["safetensors", "sparse"]).files
    assert max(file.error for file in written) < 1e-5
    small = bench.load_small(tmp_path / "model.safetensors")
    assert sum(p.numel() for p in small.parameters()) == pruned.row.params_small
    removed = json.loads((tmp_path / "card.json").read_text())["removed_units"]
    assert sum(map(len, removed.values())) > 0
    assert "load_small" in (tmp_path / "README.md").read_text()


def test_a_recorder_leaves_the_columns_of_other_patterns_empty() -> None:
    recorder = TrialRecorder(trial("0.5").resolve())
    recorder.failed("nothing")
    assert recorder.rows[0].latency_small is None


def test_units_that_stay_or_weights_under_a_mask_are_invalid(rows: dict[str | None, ResultRow]) -> None:
    spec = get_model("embedded", "vit")
    model = spec.load()
    layers = {name: weight.detach().clone() for name, weight in cap.select_layers(model, spec.prunable).items()}
    units = find_units(model, layers, torch.zeros(1, *spec.input_shape))
    pattern = cap.Units(0.5)
    found = find_invalid_units(units, layers, None, pattern)
    assert found is not None
    assert "break the pattern 0.5@units" in found
    masks = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in layers.items()}
    assert "mask removes them" in (find_invalid_units(units, layers, masks, pattern) or "")
    layers["blocks.0.mlp.fc1.weight"][0, 0] = torch.nan
    assert "not finite" in (find_invalid_units(units, layers, None, pattern) or "")
    assert {row.status for row in rows.values()} == {"done"}


def test_whole_units_that_come_near_the_sparsity_are_no_invalid_rows(rows: dict[str | None, ResultRow]) -> None:
    frame = pd.DataFrame([vars(row) for row in rows.values()])
    assert (mark_invalid(frame)["status"] == "done").all()
    frame["violations"] = 5
    assert (mark_invalid(frame)["status"] != "done").sum() == 3
