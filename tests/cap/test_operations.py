"""The order of operations of a model, and outputs that can be differentiated twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cap.inputs import as_inputs
from cap.operations import operations, outputs


class Block(nn.Module):
    """Modules in another order than they are called in, one in place, one that does nothing, one called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)
        self.inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Identity())
        self.norm = nn.LayerNorm(6)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        y = self.inner(x)
        q = self.norm(y)
        return self.last(self.norm(F.scaled_dot_product_attention(q, q, q)))


def test_operations_are_modules_that_compute_something_in_order_of_their_calls() -> None:
    torch.manual_seed(0)
    model, x = Block(), torch.randn(2, 5, 4)
    assert operations(model, ["last.weight"], as_inputs(x)) == ["inner.0", "inner.1", "norm", "last"]
    assert operations(model, [], as_inputs(x)) == ["inner.0", "inner.1", "norm", "last"]


def test_outputs_end_with_the_last_one_and_are_not_overwritten() -> None:
    torch.manual_seed(0)
    model, x = Block(), torch.randn(2, 5, 4)
    model.last.register_forward_hook(lambda *_: (_ for _ in ()).throw(AssertionError("called")))
    first, second, third = outputs(model, ["inner.0", "inner.1", "norm"], as_inputs(x))
    expected = F.linear(x, model.inner[0].weight, model.inner[0].bias)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, expected.relu())
    torch.testing.assert_close(third, F.layer_norm(expected.relu(), (6,)))
    assert model.training


def test_attention_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    model, x = Block(), torch.randn(2, 5, 4)
    weight = model.inner[0].weight
    [found] = outputs(model, ["last"], as_inputs(x))
    [gradient] = torch.autograd.grad(found.square().sum(), weight, create_graph=True)
    [second] = torch.autograd.grad(gradient.sum(), weight)
    assert second.isfinite().all()
    assert second.any()
