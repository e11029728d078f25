"""Blocks against timm's own, in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn

from cap.runtime import candidates
from cap.runtime.codegen import Assembler
from cap.runtime.machine import has_avx512

needs_avx512 = pytest.mark.skipif(not has_avx512(), reason="needs AVX-512")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


def block(name: str, path: str, **options: object) -> nn.Module:
    """Returns a block of a model of timm with random weights, of which most are zero, and statistics of its own."""
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=10, **options).get_submodule(path).eval()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if tensor.ndim == 1 else tensor.normal_(0, 0.2)
            if tensor.ndim == 2:
                tensor *= torch.rand(tensor.shape) < 0.3
    return module


VIT = {"img_size": 48, "embed_dim": 64, "depth": 1, "num_heads": 2}
XCIT = {"img_size": 64, "embed_dim": 96, "depth": 1, "num_heads": 2}
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64), "conv_mlp": False}


@pytest.mark.parametrize(
    "code", [pytest.param(True, marks=needs_avx512, id="avx512"), pytest.param(False, id="portable")]
)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    ("name", "path", "options", "shape", "numbers"),
    [
        ("deit_tiny_patch16_224", "blocks.0", VIT, (50, 64), ()),
        ("deit_tiny_patch16_224", "blocks.0", {**VIT, "init_values": 0.5}, (5, 64), ()),
        ("xcit_nano_12_p16_224", "blocks.0", XCIT, (35, 96), (5, 7)),
        ("xcit_nano_12_p16_224", "blocks.0", {**XCIT, "eta": 0.5}, (16, 96), (1, 16)),
        ("convnext_atto", "stages.0.blocks.0", CONVNEXT, (16, 17, 9), ()),
        ("convnext_atto", "stages.2.blocks.0", {**CONVNEXT, "ls_init_value": None}, (48, 5, 4), ()),
    ],
)
def test_a_block_is_timms(
    name: str, path: str, options: dict[str, object], shape: tuple[int, ...], numbers: tuple[int, ...], images: int,
    code: bool,
) -> None:  # fmt: skip
    module = block(name, path, **options)
    x = torch.randn(images, *shape)
    candidate = candidates.find(module, tuple(x.shape), numbers)
    assert candidate is not None
    assert candidate.kind in ("SparseBlock", "SparseXCABlock", "SparseConvNeXtBlock")
    twin = copy.deepcopy(candidate.build(Assembler(code)))
    for tensor in (*module.parameters(), *module.buffers()):
        assert tensor.isfinite().all()
    expected = copy.deepcopy(module).double()(x.double(), *numbers)
    scale = float(expected.abs().max())
    inputs: list[Tensor] = [x, x.transpose(-1, -2).contiguous().transpose(-1, -2)]
    for given in inputs:
        torch.testing.assert_close(twin(given, *numbers).double(), expected, rtol=0, atol=3e-6 * scale)


def test_a_changed_block_is_not_taken() -> None:
    module = block("deit_tiny_patch16_224", "blocks.0", **VIT)
    assert candidates.find(module, (1, 50, 64)) is not None
    for name, other in (("norm1", nn.BatchNorm1d(64)), ("ls1", nn.Linear(64, 64)), ("drop_path2", nn.ReLU())):
        changed = copy.deepcopy(module)
        setattr(changed, name, other)
        assert candidates.find(changed, (1, 50, 64)) is None, name
    module.register_parameter("more", nn.Parameter(torch.zeros(1)))
    assert candidates.find(module, (1, 50, 64)) is None
