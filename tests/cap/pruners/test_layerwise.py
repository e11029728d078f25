"""The pruners of one layer at a time, and the others beside CAP, against brute force on tiny layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import cap
from cap.columns import as_columns, obs_column_update, second_moments, upper_factor
from cap.gradients import GradientBatch

DATA = Path(__file__).parents[2] / "data"


class Two(nn.Module):
    """Two layers whose inputs are easy to compute by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2)
        self.fc = nn.Linear(6, 5)

    def forward(self, images):
        return self.fc(self.conv(images).flatten(2).transpose(1, 2)).mean(1)


@pytest.fixture
def two() -> tuple[Two, dict[str, nn.Parameter], cap.Calibration]:
    torch.manual_seed(0)
    model = Two()
    images = torch.randn(40, 4, 5, 5)
    return (
        model,
        cap.select_layers(model, [".*weight"]),
        cap.Calibration(images, torch.zeros(40, dtype=torch.long), batch_size=16),
    )


def test_layer_inputs_are_what_the_weights_are_multiplied_with(two) -> None:
    model, layers, calibration = two
    batches = list(calibration.layer_inputs(model, layers))
    conv = torch.cat([batch["conv.weight"] for batch in batches], dim=1)
    fc = torch.cat([batch["fc.weight"] for batch in batches], dim=1)
    assert conv.shape == (2, 40 * 9, 2 * 9)
    rows = as_columns(model.conv.weight, 2)
    outputs = torch.bmm(conv, rows.transpose(1, 2))  # (groups, positions, outputs of a group)
    outputs = outputs.transpose(1, 2).reshape(6, 40, 9).transpose(0, 1) + model.conv.bias[:, None]
    torch.testing.assert_close(outputs, model.conv(calibration.images).flatten(2))
    torch.testing.assert_close(fc[0], outputs.transpose(1, 2).reshape(-1, 6))
    moments = second_moments(model, layers, calibration)["fc.weight"]
    torch.testing.assert_close(moments[0], fc[0].double().T @ fc[0].double() / 40)


def test_unknown_layers_are_refused(two) -> None:
    model, _, calibration = two
    model.extra = nn.Bilinear(2, 2, 2)
    model.unused = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"extra\.weight belongs to a Bilinear"):
        cap.create("wanda").fit(model, cap.select_layers(model, [r"extra\.weight"]), calibration)
    with pytest.raises(ValueError, match=r"unused\.weight is not called"):
        cap.create("wanda").fit(model, cap.select_layers(model, [r"unused\.weight"]), calibration)


def test_wanda_by_hand(two) -> None:
    model, layers, calibration = two
    pruned = cap.create("wanda").fit(model, layers, calibration).prune(cap.Unstructured(0.5, scope="layer"))
    x = model.conv(calibration.images).flatten(2).transpose(1, 2).reshape(-1, 6)
    score = model.fc.weight.abs() * x.norm(dim=0)
    mask = pruned.masks["fc.weight"]
    for row in range(5):
        assert set(score[row].argsort()[:3].tolist()) == set((~mask[row]).nonzero().flatten().tolist())
    assert pruned.weights["fc.weight"].equal(model.fc.weight.detach() * mask)


def spread(weight: torch.Tensor, moment: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """The sweep with every inverse computed from scratch: column c goes with H restricted to the columns from c on."""
    w = weight.double().clone()
    for c in range(w.shape[1]):
        inverse = torch.linalg.inv(moment[c:, c:])
        for row in range(len(w)):
            if not keep[row, c]:
                w[row, c:] -= w[row, c] / inverse[0, 0] * inverse[0]
    return w * keep


def test_sweep_equals_inverses_from_scratch() -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 7, dtype=torch.float64)
    moment = x.T @ x
    weight = torch.randn(4, 7)
    keep = torch.rand(4, 7) < 0.5
    w = weight.double().clone()
    obs_column_update(w, upper_factor(moment[None], 1e-12)[0], keep, slice(0, 7))
    torch.testing.assert_close(w, spread(weight, moment, keep))


def test_sparsegpt_equals_inverses_from_scratch(two) -> None:
    model, layers, calibration = two
    fc = {"fc.weight": layers["fc.weight"]}
    pruner = cap.create("sparsegpt", damp=0.1, sequential=False).fit(model, fc, calibration)
    moment = second_moments(model, fc, calibration)["fc.weight"][0]
    moment = moment + 0.1 * moment.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    for pattern in (cap.Unstructured(0.5, scope="layer"), cap.NM(1, 2)):
        pruned = pruner.prune(pattern)
        theirs = spread(model.fc.weight.detach(), moment, pruned.masks["fc.weight"])
        torch.testing.assert_close(pruned.weights["fc.weight"].double(), theirs, rtol=1e-4, atol=1e-6)
    # the first group's mask is that of the dense weights
    upper = torch.linalg.cholesky(torch.linalg.inv(moment), upper=True)
    score = (model.fc.weight.detach().double() / upper.diagonal()).square()
    assert pruned.masks["fc.weight"][:, 0].equal(score[:, 0] > score[:, 1])


def test_obc_equals_brute_force(two) -> None:
    """Every removal of every row by solving the least squares problem on the inputs for each candidate."""
    model, layers, calibration = two
    fc = {"fc.weight": layers["fc.weight"]}
    pruner = cap.create("obc", damp=1e-9).fit(model, fc, calibration)
    moment = second_moments(model, fc, calibration)["fc.weight"][0]

    def best(row: torch.Tensor, gone: list[int]) -> tuple[float, torch.Tensor]:
        stay = [j for j in range(6) if j not in gone]
        x = torch.zeros(6, dtype=torch.float64)
        if stay:
            x[stay] = torch.linalg.solve(moment[stay][:, stay], moment[stay] @ row)
        return float((x - row) @ moment @ (x - row) / 2), x

    losses, orders = [], []
    for row in model.fc.weight.detach().double():
        gone: list[int] = []
        row_losses = torch.zeros(6, dtype=torch.float64)
        for _ in range(6):
            loss, j = min((best(row, [*gone, j])[0], j) for j in range(6) if j not in gone)
            gone.append(j)
            row_losses[j] = loss
        losses.append(row_losses)
        orders.append(gone)
    torch.testing.assert_close(pruner.importance["fc.weight"], torch.stack(losses), rtol=1e-5, atol=1e-8)
    pruned = pruner.prune(cap.Unstructured(0.5, scope="layer"))
    for row, weight in enumerate(model.fc.weight.detach().double()):
        gone = (~pruned.masks["fc.weight"][row]).nonzero().flatten().tolist()
        torch.testing.assert_close(
            pruned.weights["fc.weight"][row].double(), best(weight, gone)[1], rtol=1e-4, atol=1e-6
        )


def test_gradient_weight_by_a_loop(model, layers, calibration) -> None:
    importance = cap.create("gradient_weight", num_gradients=30).fit(model, layers, calibration).importance
    total = {name: torch.zeros_like(weight) for name, weight in layers.items()}
    for i in range(30):
        loss = F.cross_entropy(model(calibration.images[i : i + 1]), calibration.labels[i : i + 1])
        for name, g in zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True):
            total[name] += (g * layers[name].detach()).abs()
    for name in layers:
        torch.testing.assert_close(importance[name].float(), total[name].detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("file", ["small", "few_grads", "row_block"])
def test_fastcap_fisher_is_that_of_the_release(file: str) -> None:
    """The released weights at 50 % are the dense ones, so the sweep has only the oracle above."""
    golden = load_file(DATA / f"{file}.safetensors")
    gradients, weight, theirs = golden["gradients"], golden["weight"], golden["fastcap_fisher"].double()

    class Golden(cap.Calibration):
        def gradient_batches(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            yield GradientBatch(len(gradients), {}, {"w": gradients})

    pruner = cap.create("fastcap", block_size=len(theirs))
    pruner.fit(nn.Identity(), {"w": weight}, Golden(torch.zeros(1, 1), torch.zeros(1)))
    factor = pruner.factors["w"]
    damped = theirs + 0.01 * theirs.diagonal().mean() * torch.eye(len(theirs), dtype=torch.float64)
    ours = torch.linalg.inv(factor.T @ factor)
    assert (ours - damped).abs().max() <= 1e-5 * damped.abs().max()


def test_fastcap_sweeps_blocks(model, layers, calibration) -> None:
    pruner = cap.create("fastcap", block_size=8).fit(model, layers, calibration)
    pruned = pruner.prune(cap.Unstructured(0.5, scope="layer"))
    for name, weight in layers.items():
        factor = pruner.factors[name]
        blocks = weight.detach().reshape(-1, 8)
        keep = pruned.masks[name].reshape(-1, 8)
        theirs = spread(blocks, torch.linalg.inv(factor.T @ factor), keep)
        torch.testing.assert_close(pruned.weights[name].reshape(-1, 8).double(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fastcap", "obc", "sparsegpt", "wanda"])
def test_weights_that_are_zero_already_go_first(two, name: str) -> None:
    """Even where a whole output is zero, so that its last weights have high ranks or errors spread onto them."""
    model, layers, calibration = two
    with torch.no_grad():
        model.fc.weight[3] = 0
    pruned = (
        cap.create(name)
        .fit(model, {"fc.weight": layers["fc.weight"]}, calibration)
        .prune(cap.Unstructured(0.2, scope="layer"))
    )
    assert pruned.masks["fc.weight"].equal(model.fc.weight != 0)


def test_obc_solves_around_zeros_beyond_a_groups_quota(two) -> None:
    """Each row is the least squares solution on the weights that are neither masked nor zero before."""
    model, layers, calibration = two
    fc = {"fc.weight": layers["fc.weight"]}
    with torch.no_grad():
        model.fc.weight[:, :2] = 0  # two zeros in a group of three that loses one
    pruned = cap.create("obc", damp=1e-9).fit(model, fc, calibration).prune(cap.NM(2, 3))
    moment = second_moments(model, fc, calibration)["fc.weight"][0]
    for row, weight in enumerate(model.fc.weight.detach().double()):
        stay = (pruned.masks["fc.weight"][row] & (weight != 0)).nonzero().flatten()
        assert len(stay) == 3
        expected = torch.zeros(6, dtype=torch.float64)
        expected[stay] = torch.linalg.solve(moment[stay][:, stay], moment[stay] @ weight)
        torch.testing.assert_close(pruned.weights["fc.weight"][row].double(), expected, rtol=1e-4, atol=1e-6)


def test_fastcap_sweeps_over_zeros_beyond_a_groups_quota(model, calibration) -> None:
    layers = cap.select_layers(model, [r"fc\d.weight"])
    with torch.no_grad():
        for weight in layers.values():
            weight[:, 5:8] = 0  # three zeros in a group of four that loses two
    pruner = cap.create("fastcap", block_size=8).fit(model, layers, calibration)
    pruned = pruner.prune(cap.NM(2, 4))
    for name, weight in layers.items():
        factor, blocks = pruner.factors[name], weight.detach().reshape(-1, 8)
        keep = pruned.masks[name].reshape(-1, 8) & (blocks != 0)
        theirs = spread(blocks, torch.linalg.inv(factor.T @ factor), keep)
        torch.testing.assert_close(pruned.weights[name].reshape(-1, 8).double(), theirs, rtol=1e-4, atol=1e-5)
