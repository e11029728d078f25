"""SNOWS against least squares on the mask, and against what it starts from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cap


def calibration(images: Tensor) -> cap.Calibration:
    return cap.Calibration(images, torch.zeros(len(images), dtype=torch.long))


def snows(model: nn.Module, x: Tensor, pattern: str, **options: object) -> tuple[cap.Pruner, cap.PrunedWeights]:
    pruner = cap.create("snows", first="magnitude", **options)
    pruner.fit(model, cap.select_layers(model, [".*weight"]), calibration(x))
    return pruner, pruner.prune(pattern)


def test_a_linear_layer_alone_is_least_squares_on_the_mask() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 6)).double()
    x = torch.randn(400, 10, dtype=torch.float64) @ torch.randn(10, 10, dtype=torch.float64)
    pruner, pruned = snows(model, x, "0.5", operations=1, images=400, passes=5)
    mask, fit = pruned.masks["0.weight"], x[80:]  # a fifth is held out
    assert mask.equal(cap.create("magnitude").fit(model, pruner.weights, calibration(x)).prune("0.5").masks["0.weight"])
    target = fit @ model[0].weight.detach().T
    for row, keep in enumerate(mask):
        solution = torch.linalg.lstsq(fit[:, keep], target[:, row]).solution
        torch.testing.assert_close(pruned.weights["0.weight"][row, keep], solution, rtol=1e-3, atol=1e-4)
    assert not pruned.weights["0.weight"][~mask].any()


class Head(nn.Module):
    """Convolution, normalisation, attention and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.qkv = nn.Linear(8, 24)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 5))

    def forward(self, images):
        x = self.norm(self.conv(images)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.mlp(F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize(("first", "pattern"), [("magnitude", "0.6"), ("obc", "0.6@layer")])
def test_later_operations_come_closer_than_with_the_layer_alone(first: str, pattern: str) -> None:
    """Outputs of the whole model on other images, at three operations, one, and none."""
    torch.manual_seed(0)
    model, images, others = Head().eval(), torch.randn(160, 2, 5, 5), torch.randn(100, 2, 5, 5)
    layers = cap.select_layers(model, [r"(conv|qkv|mlp\.\d)\.weight"])
    dense = model(others).detach()

    def distance(pruned: cap.PrunedWeights) -> float:
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        pruned.apply_to(model)
        found = float((model(others).detach() - dense).square().mean())
        model.load_state_dict(before)
        return found

    refitted = {
        k: cap.create("snows", first=first, operations=k, images=160).fit(model, layers, calibration(images))
        for k in (1, 3)
    }
    none = distance(cap.create(first).fit(model, layers, calibration(images)).prune(pattern))
    one, three = (distance(pruner.prune(pattern)) for pruner in refitted.values())
    assert three < one < 0.8 * none


def test_patterns_and_options_are_those_of_the_first_pruner() -> None:
    wanda = cap.create("snows", first="wanda")
    assert "ask for 0.5@layer" in str(wanda.supports(cap.Unstructured(0.5)))
    assert wanda.supports(cap.NM(2, 4)) is None
    assert cap.create("snows").first.block_size == 192
    assert cap.create("snows", first_options={"block_size": 16}).first.block_size == 16


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"first": "capp"}, "first='capp' is not valid: choose from alps, cap"),
        ({"first_options": {"size": 1}}, "pruner 'cap' has no option size"),
        ({"first_options": [1]}, "it is a dictionary of options of cap"),
        ({"passes": 0}, "passes=0 is not valid"),
    ],
)
def test_options_are_checked(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cap.create("snows", **options)
