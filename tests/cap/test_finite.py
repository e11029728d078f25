"""What is not finite is refused by every pruner in one line, with the layer and the cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import cap
from cap.testing import tiny_calibration, tiny_layers, tiny_model
from cap.testing.subject import Subject
from cap.testing.tiny import PATTERN_LAYERS

every_pruner = pytest.mark.parametrize("name", cap.available())
with_data = pytest.mark.parametrize("name", [name for name in cap.available() if cap.create(name).needs != "nothing"])
with_gradients = pytest.mark.parametrize(
    "name", [name for name in cap.available() if cap.create(name).needs == "gradients"]
)
bad_values = pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])


def fit(name: str, model: nn.Module, calibration: cap.Calibration) -> None:
    Subject(name, {}).create().fit(model, tiny_layers(model, PATTERN_LAYERS), calibration)


@every_pruner
@bad_values
def test_weights(name: str, value: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.fc1.weight[2, 3] = value
    kind = "NaN" if value != value else "infinity"
    said = rf"^the weights of layer fc1\.weight are not finite \({kind} in 1 of 128\): check the checkpoint"
    with pytest.raises(ValueError, match=said):
        fit(name, model, tiny_calibration())


@with_data
@bad_values
def test_images(name: str, value: float) -> None:
    calibration = tiny_calibration()
    calibration.images[[30, 41], 0, 4, 4] = value
    said = (
        r"^the (gradients|inputs) of layer \w+\.weight are not finite \(.*\): 2 of 48 calibration images are not either"
    )
    with pytest.raises(ValueError, match=said + r", the first is number 30: check the images and their normalisation$"):
        fit(name, tiny_model(), calibration)


@with_data
def test_other_weights_of_the_model(name: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.stem.bias[1] = float("nan")
    said = r"^the (gradients|inputs) of layer qkv\.weight are not finite \(NaN in .*\): stem\.bias of the model is not"
    with pytest.raises(ValueError, match=said):
        fit(name, model, tiny_calibration())


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda loss: loss * float("nan"),
    "infinity": lambda loss: loss * 1e38 * 1e38,
}


@with_gradients
@pytest.mark.parametrize("gradient", ["sample", "batch"])
@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_alone(name: str, gradient, kind: str) -> None:
    calibration, cross_entropy = tiny_calibration(gradient), torch.nn.functional.cross_entropy
    calibration.loss = lambda outputs, labels: LOSSES[kind](cross_entropy(outputs, labels))
    said = r"^the gradients of layer qkv\.weight are not finite \(.*\): weights and images are, so the gradients"
    with pytest.raises(ValueError, match=said):
        fit(name, tiny_model(), calibration)


@with_gradients
def test_products_that_overflow(name: str) -> None:
    """Inputs and output gradients are finite, their product is not."""
    model = nn.Linear(4, 3)
    calibration = cap.Calibration(torch.full((30, 4), 1e30), torch.zeros(30, dtype=torch.long))
    calibration.loss = lambda outputs, labels: outputs.mean() * 1e20
    with pytest.raises(
        ValueError,
        match=r"^the gradients of layer weight are not finite \(infinity in 240 of 240\)|"
        r"^the gradients of layer weight are not finite \(infinity in 360 of 360\)",
    ):
        cap.create(name).fit(model, {"weight": model.weight}, calibration)


def test_large_but_finite_gradients_are_let_through() -> None:
    model = nn.Linear(4, 3)
    calibration = cap.Calibration(torch.full((30, 4), 1e18), torch.zeros(30, dtype=torch.long))
    calibration.loss = lambda outputs, labels: outputs.mean() * 1e20
    cap.create("gradient_weight").fit(model, {"weight": model.weight}, calibration)


@pytest.mark.parametrize("name", ["cap", "woodfisher", "mfac"])
def test_gradients_too_large_for_the_solvers(name: str) -> None:
    """Finite, but one direction of them drowns the dampening in all others."""
    model = nn.Linear(8, 3)
    calibration = cap.Calibration(torch.full((30, 8), 1e12), torch.zeros(30, dtype=torch.long))
    calibration.loss = lambda outputs, labels: outputs.mean() * 1e12
    with pytest.raises(ValueError, match=r"^weight: Fisher block 0 .* raise (damp|the dampening)"):
        cap.create(name, block_size=8).fit(model, {"weight": model.weight}, calibration)


@pytest.mark.parametrize("name", ["fastcap", "obc", "sparsegpt"])
def test_a_second_moment_that_cannot_be_inverted_is_named(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 3)
    calibration = cap.Calibration(torch.ones(30, 8) * torch.randn(30, 1), torch.zeros(30, dtype=torch.long))
    said = r"^weight: the second moment of group 0 is not positive definite: raise the dampening above 1e-30$"
    with pytest.raises(ValueError, match=said):
        cap.create(name, damp=1e-30).fit(model, {"weight": model.weight}, calibration).prune("0.5@layer")


class Careless(cap.ScorePruner):
    def scores(self, model, layers, calibration):
        return {
            name: weight / weight.new_tensor([0.0, *[1.0] * (weight.shape[1] - 1)]) * 0
            for name, weight in layers.items()
        }


def test_scores() -> None:
    with pytest.raises(ValueError, match=r"^the scores of layer qkv\.weight are not finite \(NaN in 24 of 192\)"):
        Careless().fit(tiny_model(), tiny_layers(tiny_model(), PATTERN_LAYERS), tiny_calibration()).prune(0.5)
