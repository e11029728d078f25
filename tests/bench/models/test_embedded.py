from __future__ import annotations

import json

import pytest

import cap
from bench import assets
from bench.evaluation.accuracy import evaluate
from bench.models.embedded import EMBEDDED, EmbeddedModel
from bench.scripts.recipes import RECIPES
from bench.specs.trial import Trial
from bench.trials.gate import GateError
from bench.trials.session import load_dense

# dense top-1 that the suite's models must reach
FLOOR = {"vit": 88, "convnext": 90, "xcit": 90, "dino": 88, "simclr": 85}


@pytest.fixture(params=list(EMBEDDED.values()), ids=list(EMBEDDED))
def spec(request: pytest.FixtureRequest) -> EmbeddedModel:
    return request.param


def test_weights_reach_the_recorded_accuracy(spec: EmbeddedModel) -> None:
    accuracy = evaluate(spec.load(), spec.inputs("test"))
    assert accuracy.top1 == pytest.approx(spec.card()["top1"], abs=spec.gate)
    assert accuracy.top1 >= FLOOR[spec.name]


def test_size_and_record(spec: EmbeddedModel) -> None:
    parameters = sum(p.numel() for p in spec.load().parameters())
    assert 0.2e6 <= parameters <= 1.5e6
    assert (assets.ASSETS / spec.files[0]).stat().st_size <= 3e6
    card = spec.card()
    assert card["parameters"] == parameters
    assert card["timm_options"] == json.loads(json.dumps(spec.timm_options))
    assert card["test_images"] == 10_000
    assert card["train_images"] == 27_000
    assert card["seconds"] > 0
    assert spec.name not in RECIPES or card["recipe"] == json.loads(RECIPES[spec.name].model_dump_json())
    assert ("pretraining" in card) == (spec.name == "dino")


def test_prunable_layers(spec: EmbeddedModel) -> None:
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    modules = {name: model.get_submodule(name.rpartition(".")[0]) for name in layers}
    assert all(getattr(module, "groups", 1) == 1 for module in modules.values()), "depthwise convolutions stay"
    assert not [n for n in layers if n.startswith(("head", "stem", "patch_embed")) or "pos_embed" in n or "norm" in n]
    left = {n for n, p in model.named_parameters() if p.ndim >= 2} - set(layers)
    assert not [n for n in left if "attn" in n and n.endswith("weight")]
    assert not [n for n in left if "mlp" in n]
    assert sum(w.numel() for w in layers.values()) > 0.75 * sum(p.numel() for p in model.parameters())


def test_the_gate_closes_on_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(
        sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",), evaluation_images=1000
    )
    monkeypatch.setattr(EmbeddedModel, "card", lambda self: {"top1": 95.0})
    with pytest.raises(GateError, match=r"95\.00 % is recorded"):
        load_dense(trial.resolve())
