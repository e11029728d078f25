"""Diagnosis: models with one thing wrong each, which is found; and what is said of a model with nothing wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bench
import cap
from bench import cli
from bench.core.errors import UserError
from bench.data.inputs import TensorInputs
from bench.diagnosis.accuracy import check_accuracy, usual_normalisations
from bench.diagnosis.data import check_calibration
from bench.diagnosis.finding import Diagnosis, Finding
from bench.diagnosis.gradients import check_dampening, check_fit, check_gradients, measure_gradients
from bench.diagnosis.network import check_calls, check_modes, check_shared, check_zeros
from bench.diagnosis.resources import MeasuredRates, check_memory, check_time
from bench.diagnosis.subject import Subject, load_subject, plan_trial

VIT = ("embedded", "vit", "cap")


@pytest.fixture(scope="module")
def loaded() -> Subject:
    """The embedded ViT, with 128 images."""
    return load_subject(plan_trial(*VIT, {"block_size": 16, "num_gradients": 64}), 128, None, 2**32, "cpu")


def with_model(subject: Subject, model: nn.Module, *names: str) -> Subject:
    """The same with another model, which is in eval mode."""
    return replace(subject, model=model.eval(), layers={name: model.get_parameter(name) for name in names})


class Net(nn.Module):
    """A small convolutional network for the embedded images, with whatever is wrong put between its layers."""

    def __init__(self, middle: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.middle = nn.Conv2d(1, 8, 7, 7), middle or nn.Identity()
        self.fc1, self.unused, self.fc2 = nn.Linear(128, 16), nn.Linear(4, 4), nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(self.middle(self.stem(images)).flatten(1))))


NAMES = ("stem.weight", "fc1.weight", "fc2.weight")


def only(findings: Any, check: str) -> Finding:
    [found] = [one for one in findings if one.check == check]
    return found


def test_nothing_is_wrong_with_an_embedded_model(loaded: Subject) -> None:
    checks = (check_accuracy, check_modes, check_calls, check_shared, check_zeros, check_memory, check_calibration)
    found = [finding for check in checks for finding in check(loaded)]
    assert [one for one in found if one.status != "ok"] == []
    accuracy = only(found, "accuracy")
    assert accuracy.values["top1"] > 80
    assert accuracy.values["split"] == "validation", "no test image is looked at"


def test_a_wrong_normalisation_is_named(loaded: Subject) -> None:
    """The model wants another mean and std than its record says."""
    wanted = "none, pixels in [0, 255]"
    usual = {one.name: one for one in usual_normalisations(1)}[wanted]
    prepared = loaded.resolved.model.preparation()

    class Renormalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = loaded.model

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.inner((usual.undo(inputs) - prepared["mean"]) / prepared["std"])

    findings = list(check_accuracy(replace(loaded, model=Renormalised().eval())))
    found = only(findings, "normalisation")
    assert found.status == "failure"
    assert f"mean and std of {wanted}" in found.message
    assert max(found.values["others"].values()) > found.values["top1"] + 10


def test_classes_in_another_order_are_told(loaded: Subject) -> None:
    labels = loaded.images.labels
    moved = replace(loaded, images=TensorInputs(loaded.images.images, (labels + 3) % 10))
    findings = list(check_accuracy(moved))
    assert only(findings, "accuracy").status == "failure"
    assert "in another order" in only(findings, "order of classes").message


def test_an_expected_accuracy_that_is_not_reached(loaded: Subject) -> None:
    assert only(check_accuracy(replace(loaded, top1=85.0)), "accuracy").status == "ok"
    found = only(check_accuracy(replace(loaded, top1=99.9)), "accuracy")
    assert (found.status, "99.9 % is expected" in found.message) == ("failure", True)


def test_weights_of_no_training_are_told(loaded: Subject) -> None:
    found = only(check_accuracy(replace(with_model(loaded, Net(), *NAMES), top1=None)), "accuracy")
    assert (found.status, "no better than always the same class" in found.message) == ("failure", True)
    broken = Net()
    with torch.no_grad():
        broken.fc2.weight[0, 0] = torch.nan
    found = only(check_accuracy(with_model(loaded, broken, *NAMES)), "accuracy")
    assert (found.status, "not finite" in found.message) == ("failure", True)


class Stubborn(nn.BatchNorm2d):
    """BatchNorm that stays in train mode."""

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)


class BatchMean(nn.Module):
    """What BatchNorm in train mode does, in a module that says nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


class Noise(nn.Module):
    """Dropout whatever the mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5, training=True)


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (Stubborn(8), "in train mode after model.eval(): middle"),
        (nn.BatchNorm2d(8, track_running_stats=False), "BatchNorm without running statistics: middle"),
        (BatchMean(), "when an image is alone: the model normalises with its batch"),
        (Noise(), "from one time to the next: dropout is on"),
    ],
    ids=["train mode", "no statistics", "batch", "dropout"],
)
def test_outputs_that_depend_on_more_than_the_image(middle: nn.Module, message: str, loaded: Subject) -> None:
    found = only(check_modes(with_model(loaded, Net(middle), *NAMES)), "eval mode")
    assert (found.status, message in found.message) == ("failure", True), found


def test_statistics_of_no_training(loaded: Subject) -> None:
    findings = list(check_modes(with_model(loaded, Net(nn.BatchNorm2d(8)), *NAMES)))
    assert [(one.check, one.status) for one in findings] == [("eval mode", "ok"), ("BatchNorm", "warning")]


def test_layers_that_are_not_called(loaded: Subject) -> None:
    found = only(check_calls(with_model(loaded, Net(), *NAMES, "unused.weight")), "calls")
    assert (found.status, found.values) == ("failure", {"unused": ["unused.weight"]})


def test_tied_and_zero_weights(loaded: Subject) -> None:
    model = Net()
    model.unused.weight = model.fc2.weight
    with torch.no_grad():
        model.fc1.weight[:4] = 0
    subject = with_model(loaded, model, *NAMES)
    found = only(check_shared(subject), "tied weights")
    assert (found.status, found.values) == ("warning", {"tied": [["unused.weight", "fc2.weight"]]})
    found = only(check_zeros(subject), "zeros")
    assert (found.status, found.values["zeros"]) == ("warning", 512)
    assert found.values["outputs_without_weights"] == {"fc1.weight": 4}


def test_the_scale_of_the_gradients_is_that_of_autograd(loaded: Subject) -> None:
    model = Net()
    with torch.no_grad():
        model.fc1.bias[:2] = -1e6  # two units that are never active
        model.fc2.weight[0] = 0
    images = loaded.calibration
    few = replace(with_model(loaded, model, "fc1.weight", "fc2.weight"), calibration=images.split(0.1)[1])
    found = measure_gradients(few)
    rows = []
    for image, label in zip(few.calibration.images, few.calibration.labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        rows.append([g.flatten() for g in torch.autograd.grad(loss, [model.fc1.weight, model.fc2.weight])])
    first, second = (torch.stack(some).double().square().mean(0) for some in zip(*rows, strict=True))
    second = second[16:]  # the others are zero weights
    assert found.count == len(rows)
    assert found.layers["fc1.weight"] == pytest.approx(float(first.mean()))
    assert found.layers["fc2.weight"] == pytest.approx(float(second.mean()))
    assert found.mean == pytest.approx(float(torch.cat([first, second]).mean()))
    assert found.dead == int((first == 0).sum() + (second == 0).sum()) >= 256
    norms = torch.stack([torch.cat(row).double().square().sum() for row in rows])
    assert found.effective == pytest.approx(float(norms.sum() ** 2 / norms.square().sum()))
    assert only(check_gradients(few, found), "dead weights").status == "warning"


def test_the_dampening_is_held_beside_the_gradients(loaded: Subject) -> None:
    given = measure_gradients(loaded)

    def dampening(**options: Any) -> Finding:
        return only(check_dampening(replace(loaded, resolved=plan_trial(*VIT, options)), given), "dampening")

    low = dampening(damp=1e-5 * given.mean, damp_scale="absolute")
    assert low.status == "warning"
    assert low.values["relative"] == pytest.approx(1e-5)
    assert "errors of the estimate decide" in low.message
    assert "hides the Fisher" in dampening(damp=1e3).message
    assert dampening(damp=0.1 * given.mean, damp_scale="absolute").status == "ok"
    assert dampening().status == "ok"


def test_images_that_are_fitted_perfectly(loaded: Subject) -> None:
    given, drawn = measure_gradients(loaded), measure_gradients(loaded, "drawn")
    found = only(check_fit(loaded, given, drawn), "perfect fit")
    assert found.status == "ok", found
    sure = Net()
    with torch.no_grad():
        sure.fc2.bias[3] = 20
    labels = torch.full((128,), 3)
    labels[:2] = 0
    subject = replace(with_model(loaded, sure, *NAMES), calibration=bench_calibration(loaded, labels))
    found = only(check_fit(subject, measure_gradients(subject), measure_gradients(subject, "drawn")), "perfect fit")
    assert found.status == "warning"
    assert found.values["fitted"] == 126 / 128
    assert found.values["effective_images"] == pytest.approx(2, abs=0.5)
    assert "take more calibration images" in found.message
    ratio = replace(given, mean=0.01 * drawn.mean)
    assert "label_source" in only(check_fit(loaded, ratio, drawn), "perfect fit").message


def bench_calibration(subject: Subject, labels: torch.Tensor) -> Any:
    return type(subject.calibration)(subject.calibration.images, labels)


def test_calibration_images_of_one_class(loaded: Subject) -> None:
    labels = torch.zeros(128, dtype=torch.int64)
    found = only(check_calibration(replace(loaded, calibration=bench_calibration(loaded, labels))), "calibration")
    assert (found.status, found.values["classes_seen"]) == ("warning", 1)
    few = replace(loaded, resolved=plan_trial(*VIT, {"block_size": 64, "num_gradients": 32}))
    assert "singular" in only(check_calibration(few), "gradients per block").message


def test_memory_and_time(loaded: Subject) -> None:
    found = only(check_memory(replace(loaded, memory_budget=1000)), "memory")
    assert (found.status, "is too small" in found.message) == ("failure", True)
    layerwise = replace(loaded, resolved=plan_trial("embedded", "vit", "obc", {}))
    found = only(check_memory(layerwise), "memory")
    assert found.values["largest_bytes"] == 8 * 256**2, "of the layer with 256 inputs"
    assert found.values["all_bytes"] == 4 * 8 * (256**2 + 3 * 64**2)
    assert found.status == "ok"
    small = only(check_memory(replace(layerwise, memory_budget=1000)), "memory")
    assert (small.status, "prune fewer layers" in small.message) == ("warning", True)
    found = only(check_time(loaded, measure_gradients(loaded)), "time")
    assert found.values["fit_seconds"] > 0, "how long it is depends on what else runs"
    assert found.values["evaluation_seconds"] > 0
    rates = MeasuredRates(inference=10, gradients=20, gram=40, solve=80)
    assert rates.seconds(cap.FitWork(inference=10, gradients=10, gram=10, solve=10)) == 1.875


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--option", "num_gradients=64", "damp_scale=relative", "damp=0.1"]
    with_json = ["--json", str(tmp_path / "found.json")]
    cli.main(["diagnose", "--model", "vit", "--images", "64", *options, *with_json])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       calibration: ")
    assert lines[-1] == f"vit: {len(lines) - 1} ok, 0 warnings, 0 failures"
    [found] = json.loads((tmp_path / "found.json").read_text())
    assert (found["model"], found["failed"], len(found["findings"])) == ("vit", False, len(lines) - 1)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["diagnose", "--model", "vit", "--images", "64", "--top1", "99.9", "--json", "-", *options])
    assert stopped.value.code == 1
    [found] = json.loads(capsys.readouterr().out)
    assert found["failed"]


def test_a_model_that_cannot_be_computed_is_one_finding(monkeypatch: Any, loaded: Subject) -> None:
    broken = Net()
    with torch.no_grad():
        broken.fc1.weight[0, 0] = torch.inf
    monkeypatch.setattr("bench.diagnosis.diagnose.load_subject", lambda *_: with_model(loaded, broken, *NAMES))
    told: list[Finding] = []
    found = bench.diagnose("vit", on_finding=told.append)
    assert isinstance(found, Diagnosis)
    assert found.failed
    assert list(found.findings) == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "nothing"}, "unknown model 'nothing' in profile 'embedded'"),
        ({"model": "vit", "pruner": "nothing"}, "unknown pruner 'nothing'"),
        ({"model": "vit", "options": {"damp": -1}}, "damp=-1 is not valid"),
        ({"model": "vit", "images": 1}, "--images 1 is not valid: give at least 2"),
        ({"model": "vit", "top1": 0}, "--top1 0 is not valid: it is a percentage"),
        ({"model": "vit", "profile": "nothing"}, "unknown profile 'nothing'"),
    ],
)
def test_mistakes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.diagnose(**arguments)
