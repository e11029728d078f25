"""DSnoT against a loop over single swaps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cap


@pytest.fixture
def fitted() -> tuple[cap.Pruner, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 12))
    images = torch.randn(60, 5, 16) * torch.rand(16).add(0.2) + torch.randn(16)
    calibration = cap.Calibration(images, torch.zeros(60, dtype=torch.long), batch_size=32)
    pruner = cap.create("dsnot", cycles=4, threshold=0.1)
    layers = cap.select_layers(model, [".*weight"])
    return pruner.fit(model, layers, calibration), model[0].weight.detach().double(), images.double()


def swapped(row: Tensor, x: Tensor, keep: list[bool], group: int | None) -> list[bool]:
    """The swaps of one output, of weights (in,) with inputs (images, positions, in), one after another."""
    total, norm = x.sum(1).mean(0), x.square().sum((0, 1)).sqrt()
    variance = x.flatten(0, 1).var(0, unbiased=False)
    error = sum(float(row[j] * total[j]) for j in range(16) if not keep[j])
    still = set(range(16))
    for _ in range(4):
        sign = 1 if error > 0 else -1
        back = [j for j in still if not keep[j] and sign * row[j] * total[j] > 0]
        if abs(error) <= 0.1 or not back:
            break
        i = max(back, key=lambda j: float(sign * row[j] * total[j] / variance[j]))
        out = [
            j
            for j in still
            if keep[j] and (sign * row[j] * total[j] < 0 if group is None else j // group == i // group)
        ]
        if not out:
            break
        j = min(out, key=lambda j: float(row[j].abs() * norm[j]))
        after = error - float(row[i] * total[i]) + float(row[j] * total[j])
        if group is not None and after * sign <= 0:
            break
        keep[i], keep[j], error = True, False, after
        still -= {i, j}
    return keep


@pytest.mark.parametrize(("pattern", "group"), [("0.5@layer", None), ("0.75@layer", None), ("2:4", 4)])
def test_swaps_are_those_of_the_loop(fitted, pattern: str, group: int | None) -> None:
    pruner, weight, x = fitted
    score = weight.abs() * x.square().sum((0, 1)).sqrt()
    masks = pruner.prune(pattern)
    first = torch.zeros_like(score, dtype=torch.bool)
    for row, values in enumerate(score):  # Wanda's
        parts = values.view(-1, group or 16)
        keep = parts.shape[1] // 4 if pattern.startswith("0.75") else parts.shape[1] // 2
        first[row] = torch.zeros_like(parts).scatter_(1, parts.topk(keep, dim=1).indices, 1).bool().flatten()
    expected = torch.tensor(
        [swapped(row, x, keep.tolist(), group) for row, keep in zip(weight, first, strict=True)], dtype=torch.bool
    )
    assert masks.masks["0.weight"].equal(expected)
    assert not expected.equal(first)
    assert masks.weights["0.weight"].equal(weight.float() * expected)


def test_expected_errors_fall(fitted) -> None:
    pruner, weight, x = fitted
    model = nn.Sequential(nn.Linear(16, 12))
    with torch.no_grad():
        model[0].weight.copy_(weight)
    layers = cap.select_layers(model, [".*weight"])
    calibration = cap.Calibration(x.float(), torch.zeros(60, dtype=torch.long))
    wanda = cap.create("wanda").fit(model, layers, calibration).prune("0.5@layer").weights["0.weight"]
    ours = pruner.prune("0.5@layer").weights["0.weight"]
    before, after = (((weight - w) @ x.mean((0, 1))).abs().mean() for w in (wanda, ours))
    assert after < 0.5 * before
