from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import cap.runtime
from cap.runtime.folding import FoldedConv, find_folds, fold


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Quick timing, one thread."""
    monkeypatch.setattr("cap.runtime.compiler.SECONDS", 0.01)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def norm(channels: int) -> nn.BatchNorm2d:
    """Returns a batch norm with statistics and weights of its own."""
    layer = nn.BatchNorm2d(channels)
    for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)
    return layer


@torch.inference_mode()
def assert_same(changed: nn.Module, model: nn.Module, x: Tensor) -> None:
    expected = model(x)
    torch.testing.assert_close(changed(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Tanh])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_takes_in_what_is_after_it(activation: type[nn.Module], size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, size, 2, size // 2), norm(16), activation(), nn.Conv2d(16, 4, 3)).eval()
    x = 4 * torch.randn(2, 8, 13, 13)
    root = copy.deepcopy(model)
    folds = find_folds(root, x)
    taken = None if activation is nn.Tanh else "2"
    assert [(one.convolution, one.norm, one.activation) for one in folds] == [("0", "1", taken), ("3", None, None)]
    fold(root, folds)
    assert [type(root[i]) for i in (0, 1)] == [FoldedConv, nn.Identity]
    assert_same(root, model, x)
    assert_same(root, model, torch.randn(1, 8, 9, 20))
    sparse = cap.runtime.compile(model, x, force=True)
    assert_same(sparse, model, x)
    kinds = {layer.kind for layer in sparse.report().layers if layer.choice == "sparse"}
    assert kinds == ({"SparseConv"} if size == 1 and activation is not nn.SiLU else set())


class Residual(nn.Module):
    """Adds to the convolution's output in place, before the activation; calls one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.twice, self.norm = nn.Conv2d(4, 4, 3, padding=1), norm(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        y = self.act(y)
        return self.norm(self.twice(self.twice(y)))


class Read(nn.Module):
    """Reads the convolution's output beside the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y - self.act(y)


def test_what_only_looks_like_a_chain_is_left() -> None:
    torch.manual_seed(0)
    model, x = Residual().eval(), torch.randn(2, 4, 8, 8)
    assert [(one.convolution, one.norm, one.activation) for one in find_folds(model, x)] == [("conv", None, None)]
    assert_same(cap.runtime.compile(model, x, force=True), model, x)
    read = Read().eval()
    assert find_folds(read, x)[0].activation == "act"
    compiled = cap.runtime.compile(read, x, force=True)
    assert compiled.report().folds == [], "the outputs of the whole tell"
    assert_same(compiled, read, x)
