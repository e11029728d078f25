"""ALPS against every support of tiny layers, and against SparseGPT and OBC on a layer with correlated inputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import cap
from cap.columns import second_moments


def correlated(inputs: int, outputs: int, seed: int, images: int = 600) -> tuple[nn.Sequential, cap.Calibration]:
    """A linear layer, and inputs whose variances along random directions span a factor of 100."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs, outputs, bias=False))
    directions, _ = torch.linalg.qr(torch.randn(inputs, inputs))
    x = torch.randn(images, inputs) * torch.logspace(0, -1, inputs) @ directions + 0.05
    return model, cap.Calibration(x, torch.zeros(images, dtype=torch.long))


def pruned(model: nn.Module, calibration: cap.Calibration, name: str, pattern: str, **options: object) -> Tensor:
    layers = cap.select_layers(model, [".*weight"])
    return cap.create(name, **options).fit(model, layers, calibration).prune(pattern).weights["0.weight"].double()


def hessian(model: nn.Module, calibration: cap.Calibration, damp: float = 0.0) -> Tensor:
    moment = second_moments(model, cap.select_layers(model, [".*weight"]), calibration)["0.weight"][0]
    return moment + damp * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)


def error(weight: Tensor, dense: Tensor, moment: Tensor) -> float:
    change = weight - dense.double()
    return float((change @ moment * change).sum())


def best_row(row: Tensor, moment: Tensor, keep: tuple[int, ...]) -> float:
    """Error of the least squares solution of a row on a support."""
    solution = torch.zeros_like(row)
    stay = list(keep)
    if stay:
        solution[stay] = torch.linalg.solve(moment[stay][:, stay], moment[stay] @ row)
    return error(solution[None], row[None], moment)


def supports(row: Tensor, moment: Tensor) -> dict[tuple[int, ...], float]:
    """Error of a row at every support."""
    keeps = itertools.chain.from_iterable(itertools.combinations(range(len(row)), size) for size in range(len(row) + 1))
    return {keep: best_row(row, moment, keep) for keep in keeps}


def ratios_to_the_best(name: str) -> Tensor:
    """Errors over those of the best support, of layers of two rows of six weights that lose six of twelve."""
    found = []
    for seed in range(8):
        model, calibration = correlated(6, 2, seed)
        moment, dense = hessian(model, calibration, 0.01), model[0].weight.detach().double()
        one, other = (supports(row, moment) for row in dense)
        best = min(a + b for x, a in one.items() for y, b in other.items() if len(x) + len(y) == 6)
        found.append(error(pruned(model, calibration, name, "0.5@layer"), dense, moment) / best)
    return torch.tensor(found)


def test_tiny_layers_are_near_the_best_support() -> None:
    ours = ratios_to_the_best("alps")
    assert ours.min() > 0.999
    assert (ours < 1.001).any()
    assert ours.median() < 1.1
    assert ours.max() < 2.5
    assert ratios_to_the_best("sparsegpt").median() > 1.5


def test_groups_are_near_the_best_support() -> None:
    """2:4 on rows of eight weights: 36 supports."""
    halves, ratios = [*itertools.combinations(range(4), 2)], []
    for seed in range(6):
        model, calibration = correlated(8, 1, seed)
        moment, row = hessian(model, calibration, 0.01), model[0].weight.detach().double()[0]
        best = min(best_row(row, moment, (*a, *(4 + i for i in b))) for a in halves for b in halves)
        ours = pruned(model, calibration, "alps", "2:4")
        assert (ours.view(2, 4) != 0).sum(1).tolist() == [2, 2]
        ratios.append(error(ours, row[None], moment) / best)
    assert 0.999 < min(ratios) < 1.001
    assert sum(ratios) / 6 < 1.3


def test_below_sparsegpt_and_obc_on_correlated_inputs() -> None:
    model, calibration = correlated(256, 256, 0)
    dense, moment, layers = (
        model[0].weight.detach(),
        hessian(model, calibration),
        cap.select_layers(model, [".*weight"]),
    )
    fitted = {name: cap.create(name).fit(model, layers, calibration) for name in ("alps", "sparsegpt", "obc")}
    for sparsity in (0.5, 0.7, 0.9):
        errors = {
            name: error(pruner.prune(f"{sparsity}@layer").weights["0.weight"].double(), dense, moment)
            for name, pruner in fitted.items()
        }
        assert errors["alps"] < 0.9 * errors["sparsegpt"]
        assert errors["alps"] <= errors["obc"]


def test_a_layer_sees_the_layers_before_it_pruned() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6))
    calibration = cap.Calibration(torch.randn(200, 8), torch.zeros(200, dtype=torch.long))
    layers = cap.select_layers(model, [".*weight"])
    found = cap.create("alps").fit(model, layers, calibration).prune("0.6@layer").weights
    dense = cap.create("alps", sequential=False).fit(model, layers, calibration).prune("0.6@layer").weights
    assert found["0.weight"].equal(dense["0.weight"])
    assert not found["2.weight"].equal(dense["2.weight"])
    with torch.no_grad():
        model[0].weight.copy_(found["0.weight"])
    last = {"2.weight": model[2].weight}
    alone = cap.create("alps", sequential=False).fit(model, last, calibration).prune("0.6@layer").weights
    torch.testing.assert_close(found["2.weight"], alone["2.weight"])


def test_options_are_checked() -> None:
    for options, said in (({"rho": 0}, "rho=0"), ({"iterations": 0}, "iterations=0"), ({"sequential": 1}, "true or")):
        with pytest.raises(ValueError, match=said):
            cap.create("alps", **options)
