from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cap.runtime.codegen import Assembler
from cap.runtime.layers import SparseAttention, SparseLinear, SparseMLP
from cap.runtime.machine import has_avx512

# kernels and threads in pairs: AVX-512 code, and the kernels for any processor
needs_avx512 = pytest.mark.skipif(not has_avx512(), reason="needs AVX-512")
ENGINES = [
    pytest.param((True, 2), marks=needs_avx512, id="avx512-2"),
    pytest.param((False, 1), id="portable-1"),
    *([] if has_avx512() else [pytest.param((False, 2), id="portable-2")]),
]


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=ENGINES, scope="module")
def machine_code(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether layers run machine code; sets the number of threads that goes with it."""
    before = torch.get_num_threads()
    code, threads = request.param
    torch.set_num_threads(threads)
    yield code
    torch.set_num_threads(before)


def linear(in_features: int, out_features: int, density: float = 0.3, bias: bool = True, seed: int = 0) -> nn.Linear:
    """Returns a layer with random zeros."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(in_features, out_features, bias=bias)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) < density
    return layer


def in_float64(layer: nn.Module, x: Tensor) -> Tensor:
    return copy.deepcopy(layer).double()(x.double())


def assert_same(result: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max() if expected.numel() else torch.tensor(0.0)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=3e-6 * max(1.0, float(scale)))


def check_linear(layer: nn.Linear, x: Tensor, machine_code: bool) -> None:
    result = SparseLinear(layer, Assembler(machine_code))(x)
    assert result.shape == (*x.shape[:-1], layer.out_features)
    assert_same(result, in_float64(layer, x))


@pytest.mark.parametrize(
    ("tokens", "in_features", "out_features", "density"),
    [
        (197, 64, 192, 0.25),
        (16, 16, 16, 0.5),
        (1, 7, 5, 0.5),  # less than a tile, nothing a multiple of anything
        (33, 300, 1, 0.3),  # one row
        (50, 1, 50, 0.6),
        (300, 48, 96, 0.0),  # fully zero
        (70, 600, 130, 1.0),  # fully dense: groups of rows are split along the columns, displacements out of reach
        (1000, 20, 40, 0.4),
    ],
)
def test_linear(tokens: int, in_features: int, out_features: int, density: float, machine_code: bool) -> None:
    x = torch.randn(tokens, in_features, generator=torch.Generator().manual_seed(1))
    check_linear(linear(in_features, out_features, density), x, machine_code)
    check_linear(linear(in_features, out_features, density, bias=False), x, machine_code)


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(0, 90), in_features=st.integers(1, 70), out_features=st.integers(1, 220),
    density=st.floats(0, 1), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_linear_of_any_shape(
    machine_code: bool, tokens: int, in_features: int, out_features: int, density: float, seed: int
) -> None:
    x = torch.randn(tokens, in_features, generator=torch.Generator().manual_seed(seed))
    check_linear(linear(in_features, out_features, density, seed=seed), x, machine_code)


@settings(max_examples=15, deadline=None)
@given(
    tokens=st.integers(0, 60), features=st.integers(1, 50), hidden=st.integers(1, 420), outputs=st.integers(1, 60),
    density=st.floats(0, 1),
)  # fmt: skip
def test_mlp_of_any_shape(
    machine_code: bool, tokens: int, features: int, hidden: int, outputs: int, density: float
) -> None:
    first, second = linear(features, hidden, density), linear(hidden, outputs, density, seed=1)
    x = torch.randn(tokens, features, generator=torch.Generator().manual_seed(2))
    expected = in_float64(nn.Sequential(first, nn.GELU(), second), x)
    assert_same(SparseMLP(first, second, Assembler(machine_code))(x), expected)


@pytest.mark.parametrize(
    ("images", "tokens", "features", "num_heads", "size", "outputs", "density"),
    [
        (2, 50, 64, 2, 32, 64, 0.3),
        (1, 16, 48, 3, 16, 48, 0.5),
        (3, 1, 20, 1, 48, 33, 0.5),  # one token, nothing a multiple of anything
        (5, 37, 30, 1, 64, 30, 1.0),
        (4, 20, 64, 4, 16, 64, 0.0),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_attention(
    images: int, tokens: int, features: int, num_heads: int, size: int, outputs: int, density: float, bias: bool,
    machine_code: bool,
) -> None:  # fmt: skip
    qkv = linear(features, 3 * num_heads * size, density, bias)
    proj = linear(num_heads * size, outputs, density, bias, seed=1)
    x = torch.randn(images, tokens, features, generator=torch.Generator().manual_seed(2)) / 4
    split = in_float64(qkv, x).view(images, tokens, 3, num_heads, size).permute(2, 0, 3, 1, 4)
    mixed = nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(images, tokens, -1)
    sparse = SparseAttention(qkv, proj, num_heads, Assembler(machine_code))
    assert_same(sparse(x, attn_mask=None, is_causal=False), in_float64(proj, mixed))


def test_attention_refuses_a_mask() -> None:
    sparse = SparseAttention(linear(16, 48), linear(16, 16), 1, Assembler(has_avx512()))
    with pytest.raises(ValueError, match="knows no attn_mask"):
        sparse(torch.zeros(1, 2, 16), attn_mask=torch.ones(2, 2))


def test_empty_rows_and_columns(machine_code: bool) -> None:
    layer = linear(40, 60)
    layer.weight[10:45] = 0
    layer.weight[:, :30] = 0
    check_linear(layer, torch.randn(40, 40), machine_code)


def test_inputs_that_are_not_contiguous_and_of_any_rank(machine_code: bool) -> None:
    layer = linear(32, 48)
    for x in (
        torch.randn(32, 5, 20).permute(1, 2, 0),
        torch.randn(40, 64)[:, ::2],
        torch.randn(32),
        torch.randn(0, 32),
    ):
        check_linear(layer, x, machine_code)
    expanded = torch.randn(1, 32).expand(50, 32)
    check_linear(layer, expanded, machine_code)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_multiplied_in_float32(machine_code: bool, dtype: torch.dtype) -> None:
    layer, x = linear(32, 48), torch.randn(20, 32).to(dtype)
    result = SparseLinear(layer, Assembler(machine_code))(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result, layer(x.float()).to(dtype))


def test_large_outputs_take_the_streaming_path(machine_code: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cap.runtime.routines.STREAM_BYTES", 0)
    check_linear(linear(32, 64), torch.randn(200, 32), machine_code)
    first, second = linear(16, 64), linear(64, 32)
    x = torch.randn(90, 16)
    assert_same(
        SparseMLP(first, second, Assembler(machine_code))(x), in_float64(nn.Sequential(first, nn.GELU(), second), x)
    )


def test_gelu_far_from_zero(machine_code: bool) -> None:
    identity = nn.Linear(1, 1, bias=False)
    identity.weight[:] = 1
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e30, 1e30, -1e-30, 0.0])])[:, None]
    result = SparseMLP(identity, identity, Assembler(machine_code))(x)
    torch.testing.assert_close(result, nn.functional.gelu(x), rtol=1e-6, atol=1e-6)


def test_copies_outlive_their_original(machine_code: bool) -> None:
    layer, x = linear(32, 48), torch.randn(20, 32)
    sparse = SparseLinear(layer, Assembler(machine_code))
    twin = copy.deepcopy(sparse)
    del sparse
    gc.collect()
    assert_same(twin(x), in_float64(layer, x))


def test_weights_are_copied() -> None:
    layer, x = linear(32, 48), torch.randn(20, 32)
    sparse, expected = SparseLinear(layer, Assembler(has_avx512())), in_float64(layer, x)
    layer.weight.fill_(np.nan)
    layer.bias.fill_(np.nan)
    assert_same(sparse(x), expected)


def test_saving_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="save the pruned model, and compile it with cache=FOLDER"):
        pickle.dumps(SparseLinear(linear(8, 8), Assembler(has_avx512())))


def test_what_a_layer_cannot_take() -> None:
    sparse = SparseLinear(linear(8, 8), Assembler(has_avx512()))
    with torch.inference_mode(False), pytest.raises(RuntimeError, match="inference only"):
        sparse(torch.zeros(2, 8))
    with pytest.raises(TypeError, match=r"not torch\.float64 on cpu"):
        sparse(torch.zeros(2, 8, dtype=torch.float64))
    with pytest.raises(TypeError, match="on meta"):
        sparse(torch.zeros(2, 8, device="meta"))
    with pytest.raises(ValueError, match=r"takes 8 features, not an input of shape \(2, 9\)"):
        sparse(torch.zeros(2, 9))
