"""Layers of integers against integer arithmetic in float64, and models against themselves in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import cap.runtime
from bench.models.embedded import EMBEDDED
from cap import select_layers
from cap.runtime import machine
from cap.runtime.codegen import Assembler
from cap.runtime.layers import SparseAttention, SparseConv, SparseLinear, SparseMLP

needs_vnni = pytest.mark.skipif(not machine.has_vnni(), reason="needs AVX-512 VNNI")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


def integers() -> Assembler:
    return Assembler(machine_code=True, int8=True)


def linear(in_features: int, out_features: int, density: float, bias: bool = True) -> nn.Linear:
    """Returns a layer with random zeros."""
    generator = torch.Generator().manual_seed(in_features)
    layer = nn.Linear(in_features, out_features, bias=bias)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) < density
    return layer


def inputs(tokens: int, features: int) -> Tensor:
    """Returns tokens of very different sizes, the last one zero."""
    generator = torch.Generator().manual_seed(tokens)
    x = torch.randn(tokens, features, generator=generator) * 10 ** torch.randn(tokens, 1, generator=generator)
    x[-1] = 0
    return x


def quantized(layer: nn.Linear, x: Tensor) -> Tensor:
    """Returns what a layer gives with weights of eight bits a row and inputs of eight bits a token, in float64."""
    weight_scale = layer.weight.abs().amax(1, keepdim=True) / 127
    weight = torch.where(weight_scale > 0, layer.weight / weight_scale, 0).round()
    size = x.abs().amax(1, keepdim=True)
    tokens = torch.where(size > 0, x * (127 / size), 0).round()
    products = tokens.double() @ weight.double().T * (size.double() / 127) * weight_scale.double().T
    return products if layer.bias is None else products + layer.bias.double()


@needs_vnni
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize(("features", "outputs", "tokens"), [
    (64, 64, 100), (192, 576, 500), (7, 5, 20), (1, 1, 1), (1030, 70, 33), (4100, 25, 40), (16, 400, 3),
])  # fmt: skip
def test_linear_is_integer_arithmetic(features: int, outputs: int, tokens: int, density: float, bias: bool) -> None:
    layer, x = linear(features, outputs, density, bias), inputs(tokens, features)
    expected, result = quantized(layer, x), SparseLinear(layer, integers())(x).double()
    largest = expected.abs().amax(1, keepdim=True)
    assert ((result - expected).abs() <= 1e-6 * largest.clamp(min=1)).all()


@needs_vnni
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_modules_agree_to_a_few_percent(density: float) -> None:
    features = 64
    first, second = linear(features, 250, density), linear(250, 30, density)
    x = torch.randn(3, 50, features)
    mlp = nn.Sequential(first, nn.GELU(), second)
    assert_near(SparseMLP(first, second, integers())(x), mlp(x))
    dense = timm.layers.Attention(features, num_heads=4, qkv_bias=True)
    sparse = SparseAttention(dense.qkv, dense.proj, 4, integers())
    for images in (x, x[:2]):  # shared by heads, and by images
        assert_near(sparse(images), dense(images))
    convolution = nn.Conv2d(20, 33, 1, stride=2)
    pixels = torch.randn(2, 20, 9, 7)
    assert_near(SparseConv(convolution, integers())(pixels), convolution(pixels))


def assert_near(result: Tensor, expected: Tensor) -> None:
    deviation = (result - expected).abs().max() / expected.abs().max()
    assert 0 < deviation < 0.03


@needs_vnni
@pytest.mark.parametrize("name", ["vit", "convnext", "xcit"])
def test_a_trained_model_predicts_the_same(name: str, tmp_path: Path) -> None:
    spec = EMBEDDED[name].with_seed(0)
    model = spec.load()
    for weight in select_layers(model, spec.prunable).values():
        weight[weight.abs() < weight.abs().flatten().median()] = 0
    images, _ = next(iter(spec.inputs("test").batches(500)))
    compiled = cap.runtime.compile(model, images[:8], force=True, cache=tmp_path, int8=True)
    outputs, expected = compiled(images), model(images)
    assert (outputs.argmax(1) == expected.argmax(1)).float().mean() >= 0.98
    assert not torch.equal(outputs, expected)
    assert compiled.report().engine == "avx512-vnni"
    again = cap.runtime.compile(model, images[:8], force=True, cache=tmp_path, int8=True)
    assert again.report().cached
    torch.testing.assert_close(again(images), outputs, rtol=0, atol=0)
    floats = cap.runtime.compile(model, images[:8], force=True, cache=tmp_path)
    assert not floats.report().cached, "kept for itself"
    torch.testing.assert_close(floats(images), expected, rtol=1e-3, atol=1e-3)


def test_a_processor_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_vnni", lambda: False)
    with pytest.raises(ValueError, match=r"int8=True needs a processor with AVX-512 and VNNI"):
        cap.runtime.compile(nn.Linear(4, 4).eval(), torch.zeros(1, 4), int8=True)
    with pytest.raises(ValueError, match="machine code"):
        Assembler(machine_code=False, int8=True)
