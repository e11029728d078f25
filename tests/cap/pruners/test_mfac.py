"""M-FAC against dense computations."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

import cap
from cap.gradients import GradientBatch


def test_mfac_equals_the_dense_inverse(model, layers, calibration) -> None:
    pruner = cap.create("mfac", block_size=40, damp=1e-3, span_layers=False).fit(model, layers, calibration)
    dense = cap.create("woodfisher", block_size=40, damp=1e-3).fit(model, layers, calibration)
    for name in layers:
        torch.testing.assert_close(pruner.importance[name], dense.importance[name], rtol=1e-4, atol=1e-9)
    one, other = (p.prune(cap.Unstructured(0.6)) for p in (pruner, dense))
    for name in layers:
        assert one.masks[name].equal(other.masks[name])
        torch.testing.assert_close(one.weights[name], other.weights[name], rtol=1e-3, atol=1e-5)


class Given(cap.Calibration):
    """Calibration with given gradients, {name: (m, weights)}."""

    def __init__(self, gradients: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> None:
        m = len(next(iter(gradients.values())))
        super().__init__(torch.zeros(m, 1, dtype=dtype), torch.zeros(m, dtype=torch.long))
        self.given = gradients

    def gradient_batches(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        yield GradientBatch(len(self), {}, self.given)


def test_blocks_go_on_from_layer_to_layer_and_leave_out_zeros() -> None:
    """As in the authors' code: one vector of all weights that are there, cut into blocks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Linear(6, 2), nn.Linear(2, 3)).double()
    with torch.no_grad():
        model[0].weight[2] = model[1].weight[0, :3] = 0
    layers = cap.select_layers(model, [".*weight"])
    gradients = {name: torch.randn(7, weight.numel()) for name, weight in layers.items()}
    pruner = cap.create("mfac", block_size=8, damp=1e-2).fit(model, layers, Given(gradients, torch.float64))
    weight = torch.cat([weight.detach().flatten() for weight in layers.values()])
    there = weight.nonzero().flatten()
    scores, change = torch.zeros_like(weight), torch.zeros_like(weight)
    pruned = pruner.prune(cap.Unstructured(0.5))
    removed = torch.cat([~mask.flatten() for mask in pruned.masks.values()])
    for block in there.split(8):  # 5 of the first layer and 3 of the second, ...
        g = torch.cat(list(gradients.values()), dim=1)[:, block].double()
        inverse = torch.linalg.inv(1e-2 * torch.eye(len(block), dtype=torch.float64) + g.T @ g / 7)
        scores[block] = weight[block] ** 2 / (2 * inverse.diagonal())
        change[block] = inverse @ (weight[block] * removed[block] / inverse.diagonal())
    torch.testing.assert_close(torch.cat([s.flatten() for s in pruner.importance.values()]), scores)
    ours = torch.cat([w.flatten() for w in pruned.weights.values()])
    torch.testing.assert_close(ours, (weight - change) * ~removed, rtol=1e-6, atol=1e-6)
    assert removed[weight == 0].all()


@pytest.mark.parametrize("m", [3, 12, 40])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e20])
def test_scores_have_six_digits_at_any_scale(m: int, scale: float) -> None:
    """Fewer gradients than a block has weights, as many, and more: a float32 factor's difference cancels there."""
    torch.manual_seed(m)
    gradients = scale * torch.randn(m, 12)
    layers = {"weight": torch.randn(12, 1)}
    for damp in (1e-8, 1e-6, 1.0):
        pruner = cap.create("mfac", block_size=12, damp=damp).fit(
            nn.Linear(1, 12), layers, Given({"weight": gradients})
        )
        inverse = exact_inverse(gradients, damp)
        scores = layers["weight"].flatten().double() ** 2 / (2 * inverse.diagonal())
        torch.testing.assert_close(pruner.importance["weight"].flatten(), scores, rtol=1e-5, atol=0)
        pruned = pruner.prune(cap.Unstructured(0.5))
        weight, gone = layers["weight"].flatten().double(), ~pruned.masks["weight"].flatten()
        expected = (weight - inverse @ (weight * gone / inverse.diagonal())) * ~gone
        error = (pruned.weights["weight"].flatten() - expected).norm() / expected.norm()
        assert error <= 1e-5


def exact_inverse(gradients: torch.Tensor, damp: float) -> torch.Tensor:
    """The inverse Fisher in rational arithmetic, rounded at the end."""
    m, size = gradients.shape
    g = [[Fraction(x) for x in row] for row in gradients.tolist()]
    fisher = [[sum(row[i] * row[j] for row in g) / m + (Fraction(damp) if i == j else 0) for j in range(size)]
              for i in range(size)]  # fmt: skip
    rows = [[*row, *(Fraction(int(i == j)) for j in range(size))] for i, row in enumerate(fisher)]
    for i in range(size):  # Gauss and Jordan; the matrix is positive definite, so that no pivot is zero
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(size):
            if k != i:
                factor = rows[k][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i], strict=True)]
    return torch.tensor([[float(x) for x in row[size:]] for row in rows], dtype=torch.float64)


def test_gradients_without_a_digit_left_are_refused() -> None:
    """Two directions, one of them 1e20 times the other: no arithmetic of 16 digits has both."""
    gradients = torch.ones(12, 12) * 1e20
    with pytest.raises(
        ValueError, match=r"^weight: Fisher block 0 cannot be inverted, its gradients of up to 1\.0e\+20"
    ):
        cap.create("mfac", block_size=12).fit(
            nn.Linear(1, 12), {"weight": torch.ones(12, 1)}, Given({"weight": gradients})
        )


def test_mfac_says_what_it_needs(model, layers, calibration) -> None:
    calibration.memory_budget = 1000
    with pytest.raises(ValueError, match=r"mfac keeps 48 gradients of .* Raise the memory budget, or lower num_grad"):
        cap.create("mfac", block_size=40).fit(model, layers, calibration)
