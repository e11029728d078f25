"""Layer inputs of a model as pruned so far, and SparseGPT on them: brute force on chains of layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cap
from cap.columns import as_columns, second_moments
from cap.testing import tiny_calibration, tiny_layers, tiny_model
from cap.testing.inspection import model_traces

HALF = cap.Unstructured(0.5, scope="layer")


class Chain(nn.Module):
    """Two linear layers, registered in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(6, 4)
        self.first = nn.Linear(5, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(images)))


@pytest.fixture
def chain() -> tuple[Chain, dict[str, nn.Parameter], cap.Calibration]:
    torch.manual_seed(0)
    model = Chain()
    images = torch.randn(30, 5)
    return model, cap.select_layers(model, [".*weight"]), cap.Calibration(images, torch.zeros(30).long(), batch_size=8)


def swept(weight: Tensor, inputs: Tensor, block_size: int, damp: float) -> Tensor:
    """Algorithm 1 of arXiv 2301.00774 at half the weights, with every inverse computed from scratch."""
    w, columns = weight.double().clone(), weight.shape[1]
    moment = inputs.double().T @ inputs.double() / len(inputs)
    moment += damp * moment.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    keep = torch.ones_like(w, dtype=torch.bool)
    for c in range(columns):
        if c % block_size == 0:
            block = range(c, min(c + block_size, columns))
            rest = [torch.linalg.inv(moment[j:, j:])[0, 0] for j in block]
            scores = torch.stack([w[:, j] ** 2 / h for j, h in zip(block, rest, strict=True)], dim=1)
            lowest = scores.flatten().argsort()[: round(scores.numel() / 2)]
            keep[:, block.start : block.stop] = torch.ones(scores.numel()).scatter_(0, lowest, 0).view_as(scores) > 0
        inverse = torch.linalg.inv(moment[c:, c:])
        w[:, c:] -= (w[:, c] * ~keep[:, c] / inverse[0, 0])[:, None] * inverse[0]
    return (w * keep).to(weight.dtype)


def test_sparsegpt_is_the_published_algorithm_on_a_chain(chain) -> None:
    model, layers, calibration = chain
    pruned = cap.create("sparsegpt", block_size=2, damp=0.1).fit(model, layers, calibration).prune(HALF)
    assert list(pruned.weights) == list(layers)
    images = calibration.images
    first = swept(model.first.weight.detach(), images, 2, 0.1)
    torch.testing.assert_close(pruned.weights["first.weight"], first, rtol=1e-4, atol=1e-6)
    hidden = torch.relu(images @ first.T + model.first.bias)
    second = swept(model.second.weight.detach(), hidden.detach(), 2, 0.1)
    torch.testing.assert_close(pruned.weights["second.weight"], second, rtol=1e-4, atol=1e-6)


def test_the_first_layer_is_that_of_dense_inputs_and_the_second_is_not(chain) -> None:
    model, layers, calibration = chain
    ours, dense = (
        cap.create("sparsegpt", block_size=2, sequential=s).fit(model, layers, calibration).prune(HALF)
        for s in (True, False)
    )
    assert ours.weights["first.weight"].equal(dense.weights["first.weight"])
    assert not ours.weights["second.weight"].equal(dense.weights["second.weight"])


@pytest.mark.parametrize("pattern", [HALF, cap.NM(2, 4)], ids=str)
def test_the_sequence_starts_from_the_dense_model_each_time(pattern) -> None:
    """Weights that change afterwards change nothing; time that goes into the sequence is told."""
    model, calibration = tiny_model().train(), tiny_calibration()
    traces = model_traces(model)
    layers = tiny_layers(model, r"(qkv|fc\d).weight")
    pruner = cap.create("sparsegpt").fit(model, layers, calibration)
    first = pruner.prune(pattern)
    assert pruner.refit_seconds > 0
    pruner.prune(cap.Unstructured(0.9, scope="layer"))
    assert model_traces(model) == traces
    first.apply_to(model)
    again = pruner.prune(pattern)
    assert all(again.weights[name].equal(weight) for name, weight in first.weights.items())


def test_inputs_are_those_of_the_model_as_pruned_so_far() -> None:
    model, calibration = tiny_model(), tiny_calibration()
    layers = tiny_layers(model)  # a grouped convolution among them
    reference, order = tiny_model(), []
    for layer in calibration.sequential(model, layers):
        order.append(layer.name)
        expected = [batch[layer.name] for batch in calibration.layer_inputs(reference, layers)]
        for _ in range(2):
            assert [batch.equal(other) for batch, other in zip(layer.inputs(), expected, strict=True)] == [True] * 3
        assert layer.groups == len(expected[0])
        assert as_columns(layer.weight, layer.groups).shape[2] == expected[0].shape[2]
        layer.replace(layer.weight * 0.5)
        with torch.no_grad():
            reference.get_parameter(layer.name).mul_(0.5)
    assert order == ["mix.weight", "qkv.weight", "fc1.weight", "fc2.weight"]
    dense = tiny_layers(tiny_model())
    assert all(weight.equal(dense[name]) for name, weight in layers.items())


def test_a_layer_that_is_called_twice_has_all_its_inputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(layer := nn.Linear(3, 3), nn.Tanh(), layer)
    layers = {"0.weight": model[0].weight}
    calibration = cap.Calibration(torch.randn(10, 3), torch.zeros(10).long(), batch_size=4)
    found = next(calibration.sequential(model, layers))
    moment = sum(inputs[0].double().T @ inputs[0].double() for inputs in found.inputs()) / 10
    torch.testing.assert_close(moment, second_moments(model, layers, calibration)["0.weight"][0])


def test_mistakes_are_told(chain) -> None:
    model, layers, calibration = chain
    with pytest.raises(ValueError, match=r"first\.weight was not handed back: call layer\.replace"):
        list(calibration.sequential(model, layers))
    layer = next(calibration.sequential(model, layers))
    with pytest.raises(ValueError, match=r"first\.weight has shape \(6, 5\), its pruned weight \(5, 6\)"):
        layer.replace(layer.weight.T)
    model.extra = nn.Bilinear(2, 2, 2)
    model.unused = nn.Linear(3, 3)
    for name, said in (("extra", "belongs to a Bilinear"), ("unused", "is not called")):
        with pytest.raises(ValueError, match=rf"{name}\.weight {said}"):
            cap.create("sparsegpt").fit(model, {f"{name}.weight": model.get_parameter(f"{name}.weight")}, calibration)
    with pytest.raises(ValueError, match="sequential=1 is not valid: it is true or false"):
        cap.create("sparsegpt", sequential=1)
