from __future__ import annotations

import copy

import pytest
import torch

import cap
from bench.latency.engines import Engine
from bench.latency.measure import deviation
from bench.latency.random_models import pruned_models
from bench.models import get_model


@pytest.mark.parametrize("name", ["vit", "convnext", "xcit"])
def test_every_layer_matters_to_the_outputs(name: str) -> None:
    """Otherwise the check against eager would let a wrong layer pass: at timm's own start some do nothing."""
    spec = get_model("embedded", name)
    (model, _) = pruned_models(spec, (0.0,), seed=0)[0.0]
    images = torch.randn(2, 1, spec.input_size, spec.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
        for layer in cap.select_layers(model, spec.prunable):
            other = copy.deepcopy(model)
            other.get_parameter(layer).mul_(1.5)
            assert deviation(other(images), expected) > Engine.tolerance, layer


def test_masks_are_real_and_attention_is_denser() -> None:
    spec = get_model("embedded", "vit")
    models = pruned_models(spec, (0.0, 0.75), seed=0)
    model, sparsity = models[0.75]
    layers = cap.select_layers(model, spec.prunable)
    zeros = {name: (weight == 0).float().mean().item() for name, weight in layers.items()}
    assert sparsity == pytest.approx(0.75, abs=1e-4)
    attention = [value for name, value in zeros.items() if "attn" in name]
    assert max(attention) < min(value for name, value in zeros.items() if "mlp" in name)
    dense = dict(models[0.0][0].named_parameters())
    assert all(torch.equal(weight, dense[name] * (weight != 0)) for name, weight in layers.items())
