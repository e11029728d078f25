from __future__ import annotations

import json

import pytest
import torch

import cap
from bench import assets
from bench.core.errors import UserError
from bench.data.fashion_mnist import load_split, to_input
from bench.evaluation.accuracy import evaluate
from bench.evaluation.macs import count_macs
from bench.models import get_model
from bench.models.embedded import EMBEDDED, EmbeddedModel
from bench.scripts.recipes import RECIPES
from bench.specs.trial import Trial
from bench.trials.session import GateError, load_dense

FLOOR = {"vit": 88, "convnext": 90, "hybrid": 90, "dino": 88}  # dense top-1 that the suite's models must reach


@pytest.fixture(params=list(EMBEDDED.values()), ids=list(EMBEDDED))
def spec(request: pytest.FixtureRequest) -> EmbeddedModel:
    return request.param


def test_weights_reach_the_recorded_accuracy(spec: EmbeddedModel) -> None:
    accuracy = evaluate(spec.load(), spec.inputs("test"))
    assert accuracy.top1 == pytest.approx(spec.card()["top1"], abs=spec.gate)
    assert accuracy.top1 >= FLOOR[spec.family]


def test_size_and_record(spec: EmbeddedModel) -> None:
    parameters = sum(p.numel() for p in spec.load().parameters())
    assert 0.2e6 <= parameters <= 1.5e6
    assert (assets.ASSETS / f"zoo/{spec.name}.safetensors").stat().st_size <= 3e6
    card = spec.card()
    assert card["parameters"] == parameters
    assert card["timm_options"] == json.loads(json.dumps(spec.timm_options))
    assert card["test_images"] == 10_000
    assert card["train_images"] == 27_000
    assert card["seconds"] > 0
    assert card["recipe"] == json.loads(RECIPES[spec.name].model_dump_json())
    assert ("pretraining" in card) == (spec.family == "dino")


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


def test_multiply_adds_by_hand() -> None:
    """A ViT's products, counted on paper."""
    options = EMBEDDED["vit"].timm_options
    width, depth, heads, patch = (options[key] for key in ("embed_dim", "depth", "num_heads", "patch_size"))
    tokens = (28 // patch) ** 2 + 1
    linear = 12 * width**2 * tokens  # qkv, proj, fc1, fc2
    attention = 2 * tokens**2 * width  # QK^T and attention times V, all heads together
    embedding, head = (tokens - 1) * patch**2 * width, 10 * width
    spec = EMBEDDED["vit"]
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    cost = count_macs(model, layers, to_input(load_split("test").images[:1], 28))
    assert heads == 4
    assert cost.total == depth * (linear + attention) + embedding + head
    assert sum(cost.layers.values()) == depth * linear
    half = dict.fromkeys(layers, 0.5)
    assert cost.sparse(half) == cost.total - depth * linear // 2


def test_layer_shares_by_hand_on_convolutions() -> None:
    spec = EMBEDDED["convnext"]
    model = spec.load()
    layers = cap.select_layers(model, spec.prunable)
    cost = count_macs(model, layers, to_input(load_split("test").images[:1], 32))
    seen = {}
    for name in layers:
        module = model.get_submodule(name.rpartition(".")[0])
        module.register_forward_hook(
            lambda m, _, out, name=name: seen.update({name: out.numel() // len(m.bias) * m.weight.numel()})
        )
    model(torch.zeros(1, 1, 32, 32))
    assert cost.layers == seen


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(UserError, match="choose from convnext, dino, vit, xcit"):
        get_model("embedded", "resnet")


def test_the_gate_closes_on_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(sweep="s", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",))
    monkeypatch.setattr(EmbeddedModel, "card", lambda self: {"top1": 95.0})
    with pytest.raises(GateError, match=r"95\.00 % is recorded"):
        load_dense(trial.resolve())
