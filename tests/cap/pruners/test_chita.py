"""CHITA against exhaustive search and direct solution, and its objective beside that of CAP."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import cap
from cap.fisher.blocks import split_blocks
from cap.pruners.chita import iterative_hard_thresholding
from cap.selection import keep_highest


def least_squares(rows: Tensor, dense: Tensor, damp: float) -> tuple[Tensor, Tensor]:
    """The problem as the paper writes it, times n: A and b with the ridge as further rows."""
    n, size = rows.shape
    ridge = (n * damp) ** 0.5 * torch.eye(size, dtype=rows.dtype)
    return torch.cat([rows, ridge]), torch.cat([rows @ dense, (n * damp) ** 0.5 * dense])


def best_on(support: list[int], a: Tensor, b: Tensor) -> tuple[Tensor, float]:
    """Solution and value of `1/2 |b - A w|^2` on a support."""
    w = torch.zeros(a.shape[1], dtype=a.dtype)
    w[support] = torch.linalg.lstsq(a[:, support], b).solution
    return w, float((b - a @ w).square().sum() / 2)


def problem(seed: int, n: int = 6, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients, weights and F with damp 0.1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, size, generator=generator, dtype=torch.float64)
    dense = torch.randn(size, generator=generator, dtype=torch.float64)
    return rows, dense, rows.T @ rows / n + 0.1 * torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 10])
@pytest.mark.parametrize("seed", range(20))
def test_the_objective_never_rises_nor_falls_below_the_best_of_all_supports(seed: int, iterations: int) -> None:
    rows, dense, fisher = problem(seed)
    kept = 4
    weights, losses = iterative_hard_thresholding(
        dense, lambda v: fisher @ v, lambda v: keep_highest(v.square(), 8 - kept), iterations
    )
    assert int((weights != 0).sum()) == kept
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] == pytest.approx(float((weights - dense) @ fisher @ (weights - dense)) / 2)
    start = dense * keep_highest(dense.square(), 8 - kept)
    assert losses[0] == pytest.approx(float((start - dense) @ fisher @ (start - dense)) / 2)
    a, b = least_squares(rows, dense, 0.1)
    least = min(best_on(list(support), a, b)[1] for support in itertools.combinations(range(8), kept)) / len(rows)
    assert losses[-1] >= least * (1 - 1e-9)


def test_most_supports_are_the_best_of_all() -> None:
    found = 0
    for seed in range(40):
        rows, dense, fisher = problem(seed)
        weights, _ = iterative_hard_thresholding(
            dense, lambda v, f=fisher: f @ v, lambda v: keep_highest(v.square(), 4), 10
        )
        a, b = least_squares(rows, dense, 0.1)
        values = {s: best_on(list(s), a, b)[1] for s in itertools.combinations(range(8), 4)}
        ours = values[tuple(weights.nonzero().flatten().tolist())]
        found += ours <= 1.1 * min(values.values())
    magnitude = 0
    for seed in range(40):
        rows, dense, _ = problem(seed)
        a, b = least_squares(rows, dense, 0.1)
        values = {s: best_on(list(s), a, b)[1] for s in itertools.combinations(range(8), 4)}
        largest = tuple(dense.abs().topk(4).indices.sort().values.tolist())
        magnitude += values[largest] <= 1.1 * min(values.values())
    assert found > magnitude


def test_a_diagonal_fisher_keeps_what_costs_most() -> None:
    """Where weights do not interact the gradient on the support vanishes at once; the best support is known."""
    dense = torch.tensor([3.0, 2.0, 1.0, 0.9], dtype=torch.float64)
    fisher = torch.tensor([1.0, 1.0, 0.1, 1.0], dtype=torch.float64)
    weights, losses = iterative_hard_thresholding(dense, lambda v: fisher * v, lambda v: keep_highest(v.square(), 1), 5)
    assert losses[0] == pytest.approx(0.9**2 / 2)
    assert set(weights.nonzero().flatten().tolist()) == {0, 1, 3}
    assert losses[-1] == pytest.approx(0.1 / 2)


@pytest.mark.parametrize("pattern", [cap.Unstructured(0.6), cap.NM(2, 4), cap.Blocks(4, 0.5)], ids=str)
def test_weights_are_the_direct_solution_on_the_support(pattern, model, calibration) -> None:
    """`(A_S^T A_S + n lambda I) w_S = A_S^T b + n lambda w0_S` in every block."""
    layers = cap.select_layers(model, [r"(qkv|fc\d).weight"])
    pruned = cap.create("chita", block_size=16, damp=1e-3).fit(model, layers, calibration).prune(pattern)
    for name, weight in layers.items():
        rows = torch.cat([batch[name] for batch in calibration.gradients(model, layers)]).double()
        blocks = zip(*(split_blocks(t, 16) for t in (weight.detach().double(), pruned.weights[name])), strict=True)
        for number, (dense, ours) in enumerate(blocks):
            a, b = least_squares(rows[:, 16 * number : 16 * number + 16], dense, 1e-3)
            support = ours.nonzero().flatten().tolist()
            if not support:
                continue
            torch.testing.assert_close(ours.double(), best_on(support, a, b)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["cap", "chita", "obert"])
def test_predicted_losses_are_one_objective(name: str) -> None:
    """Value of the paper's least squares, over n; no support has less than the best of all."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2, bias=False)
    images, labels = torch.randn(30, 4), torch.randint(0, 2, (30,))
    layers, calibration = {"weight": model.weight}, cap.Calibration(images, labels)
    pruner = cap.create(name, block_size=8, damp=1e-3).fit(model, layers, calibration)
    pruned = pruner.prune(cap.Unstructured(0.5))
    rows = torch.cat([batch["weight"] for batch in calibration.gradients(model, layers)]).double()
    dense = model.weight.detach().double().flatten()
    a, b = least_squares(rows, dense, 1e-3)
    value = float((b - a @ pruned.weights["weight"].double().flatten()).square().sum() / 2) / len(rows)
    assert pruner.predicted_loss(pruned) == pytest.approx(value, rel=1e-4)
    best = min(best_on(list(s), a, b)[1] for s in itertools.combinations(range(8), 4)) / len(rows)
    assert value >= best * (1 - 1e-6)


def test_thresholding_is_better_than_the_support_it_starts_from(model, layers, calibration) -> None:
    pruner = cap.create("chita", block_size=16, damp=1e-3).fit(model, layers, calibration)
    magnitude = cap.create("magnitude").fit(model, layers, calibration)
    for sparsity in (0.5, 0.8):
        pruned = pruner.prune(cap.Unstructured(sparsity))
        largest = magnitude.prune(cap.Unstructured(sparsity)).masks
        start = cap.PrunedWeights(pruner.update(largest), largest)
        assert pruner.predicted_loss(pruned) < pruner.predicted_loss(start)


def test_stages_end_at_the_pattern_with_fresh_gradients(model, layers, calibration) -> None:
    options = {"block_size": 16, "damp": 1e-3}
    once = cap.create("chita", **options).fit(model, layers, calibration)
    staged = cap.create("chita", **options, stages=3).fit(model, layers, calibration)
    one, three = once.prune(cap.Unstructured(0.8)), staged.prune(cap.Unstructured(0.8))
    assert cap.count_violations(three.weights, cap.Unstructured(0.8)) == 0
    assert not all(one.weights[name].equal(three.weights[name]) for name in layers)
    assert (once.predicted_loss(one) or 0) > 0
    assert staged.predicted_loss(three) is None
    assert "set stages to 1, not 3" in (staged.supports(cap.NM(2, 4)) or "")


@pytest.mark.parametrize("option", ["block_size", "iterations", "stages"])
def test_options_are_whole_numbers(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=0 is not valid"):
        cap.create("chita", **{option: 0})
