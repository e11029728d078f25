from __future__ import annotations

import copy
import json

import pytest
import torch
from pydantic import ValidationError

import cap
from bench.data.fashion_mnist import load_split, to_input
from bench.models import get_model
from bench.models.embedded import EMBEDDED
from bench.specs.calibration import CalibrationSpec
from bench.specs.recipes import FinetuneSpec, GradualSpec, QuantizationSpec
from bench.specs.trial import Trial
from bench.trials.int8 import int8_layers, observed, quantized
from bench.trials.measurement import Measurement
from bench.trials.recorder import TrialRecorder
from bench.trials.runner import run_trial

pytest.importorskip("torchao", reason="the extra quantization is not installed")


def pruned(name: str, sparsity: float) -> tuple[torch.nn.Module, cap.PrunedWeights]:
    spec = get_model("embedded", name)
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    calibration = cap.Calibration(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64))
    weights = cap.create("magnitude").fit(model, layers, calibration).prune(cap.Unstructured(sparsity))
    weights.apply_to(model)
    return model, weights


def inputs(name: str, count: int = 64) -> torch.Tensor:
    return to_input(load_split("train").images[:count], get_model("embedded", name).input_size)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_int8_model_computes_as_torchaos(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchao.quantization.pt2e import quantize_pt2e

    model, weights = pruned(name, 0.5)
    images, kept = inputs(name), []
    convert = quantize_pt2e.convert_pt2e
    monkeypatch.setattr(quantize_pt2e, "convert_pt2e", lambda *a, **k: kept.append(convert(*a, **k)) or kept[0])
    before = copy.deepcopy(model.state_dict())
    layers = int8_layers(observed(model, images))
    int8 = quantized(model, layers)
    with torch.no_grad():
        given, theirs, dense = int8(images), kept[0](images), model(images)
    assert (given - theirs).abs().mean() < 1e-3 * (dense.max() - dense.min())  # a value between two steps may differ
    assert 0 < (given - dense).abs().max() < 0.1 * (dense.max() - dense.min())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert weights.masks.keys() <= layers.keys()
    for key, mask in weights.masks.items():
        assert (layers[key].values[~mask] == 0).all()
        error = (layers[key].weight() - before[key]).flatten(1).abs().amax(1)
        assert (error <= 0.51 * layers[key].scale + 1e-7).all()


def test_training_in_int8_has_no_mode() -> None:
    model, _ = pruned("vit", 0.5)
    images = inputs("vit")
    graph = observed(model, images, training=True)
    from torchao.quantization.pt2e import disable_observer

    graph.apply(disable_observer)
    with torch.no_grad():
        first = graph.eval()(images)
        assert torch.equal(graph.train()(images), first)
    graph(images).sum().backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())


def test_rows_of_int8() -> None:
    """The masks hold in INT8 training, which changes the other weights, and files get smaller."""
    finetune = FinetuneSpec(epochs=1, images=64, batch_size=32, lr=1e-3, lr_end=1e-4, crop=0.75)
    trial = Trial(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.75",),
                  quantization=QuantizationSpec(finetune=finetune), calibration=CalibrationSpec(images=64),
                  evaluation_images=300)  # fmt: skip
    states: list[Measurement] = []
    recorder = TrialRecorder(trial.resolve(), on_measured=lambda measured, _: states.append(measured))
    run_trial(trial, recorder)
    assert [row.phase for row in recorder.rows] == ["dense", "one_shot", "int8", "int8_finetuned"]
    dense, one_shot, int8, tuned = recorder.rows
    assert {row.violations for row in recorder.rows[1:]} == {0}
    assert int8.file_bytes == pytest.approx(tuned.file_bytes, rel=0.02)
    assert int8.file_bytes < 0.5 * one_shot.file_bytes < 0.5 * dense.file_bytes
    assert abs(int8.top1 - one_shot.top1) < 3
    assert abs(tuned.top1 - one_shot.top1) < 10
    assert tuned.finetune_epochs == 1
    assert tuned.finetune_seconds > 0
    before, after = states[1].int8, states[2].int8
    masks = pruned("vit", 0.75)[1].masks
    for name, mask in masks.items():
        assert (after[name].values[~mask] == 0).all()
        assert (after[name].values != before[name].values).any()
    head = get_model("embedded", "vit").load().head.bias
    assert not torch.equal(states[2].model.head.bias, head)  # what is not in INT8 has learnt, too
    assert json.loads(one_shot.recipe)["quantization"]["finetune"]["lr"] == 1e-3


def test_a_trial_says_whether_it_is_in_int8() -> None:
    base = {"sweep": "s", "profile": "embedded", "model": "vit", "pruner": "magnitude", "patterns": ("0.5",)}
    assert Trial(**base, quantization=None).id == Trial(**base).id
    assert Trial(**base, quantization=QuantizationSpec()).id != Trial(**base).id
    how = GradualSpec(epochs=2, period=1, knots=((0, 0.5),), images=1, batch_size=1, lr=1e-3, lr_end=1e-4)
    with pytest.raises(ValidationError, match="quantization belongs to one-shot pruning"):
        Trial(**base, quantization=QuantizationSpec(), training=how)
