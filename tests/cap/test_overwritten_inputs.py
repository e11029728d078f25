"""Models that write into what a layer has read, against the same models without in-place writes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cap


class Block(nn.Module):
    """Residual block with activation first, whose shortcut reads what the activation then overwrites."""

    def __init__(self, channels: int, outputs: int, inplace: bool) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, outputs, 1, stride=2)
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.relu, self.inplace = nn.ReLU(inplace=inplace), inplace

    def forward(self, x: Tensor) -> Tensor:
        identity = self.shortcut(x)
        out = self.conv2(self.relu(self.norm(self.conv1(self.relu(x)))))
        if not self.inplace:
            return self.relu(out + identity)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """Residual blocks, and token layers with in-place residual additions; all writes in place, or none."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(3, 6, inplace), Block(6, 8, inplace))
        self.fc1, self.fc2, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.inplace = inplace

    def forward(self, images: Tensor) -> Tensor:
        images = images.sub_(0.1) if self.inplace else images - 0.1
        x = self.blocks(images).flatten(2).transpose(1, 2).contiguous()
        for fc in (self.fc1, self.fc2):
            x = x.add_(torch.tanh(fc(x))) if self.inplace else x + torch.tanh(fc(x))
        return self.head(x.mean(1))


@pytest.fixture
def models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = ResNet(inplace=False).eval()
    writing = ResNet(inplace=True).eval()
    writing.load_state_dict(plain.state_dict())
    return writing, plain


def data(**options: object) -> cap.Calibration:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(10, 3, 9, 9, generator=generator), torch.arange(10) % 5
    return cap.Calibration(images, labels, batch_size=4, **options)


def brute_force(model: nn.Module, layers: dict[str, nn.Parameter], calibration: cap.Calibration) -> dict[str, Tensor]:
    """One backward pass an image."""
    rows = []
    for i in range(len(calibration)):
        loss = F.cross_entropy(model(calibration.images[i : i + 1]), calibration.labels[i : i + 1])
        rows.append([gradient.flatten() for gradient in torch.autograd.grad(loss, list(layers.values()))])
    return {name: torch.stack([row[i] for row in rows]) for i, name in enumerate(layers)}


@pytest.mark.parametrize("pattern", [".*weight", r"blocks.0.(shortcut|conv1).weight", r"fc1.weight", r"fc\d.weight"])
def test_per_sample_gradients_of_what_the_layer_read(models, pattern: str) -> None:
    writing, plain = models
    pattern = pattern.replace(".*weight", r"(.*(conv\d|shortcut)|fc\d|head).weight")
    calibration = data()
    images = calibration.images.clone()
    theirs = brute_force(plain, cap.select_layers(plain, [pattern]), data())
    batches = list(calibration.gradients(writing, cap.select_layers(writing, [pattern])))
    for name, rows in theirs.items():
        ours = torch.cat([batch[name] for batch in batches])
        torch.testing.assert_close(ours, rows, rtol=1e-4, atol=1e-6)
    assert calibration.images.equal(images)


def test_gradients_of_batches(models) -> None:
    pattern = r"(.*(conv\d|shortcut)|fc\d).weight"
    ours, theirs = (
        list(data(gradient="batch").gradients(model, cap.select_layers(model, [pattern]))) for model in models
    )
    for batch, other in zip(ours, theirs, strict=True):
        for name, row in other.items():
            torch.testing.assert_close(batch[name], row, rtol=1e-4, atol=1e-6)


def test_gradients_of_a_weight_that_is_read_without_its_module() -> None:
    class Loose(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.loose, self.head, self.inplace = nn.Linear(8, 8), nn.Linear(8, 3), inplace

        def forward(self, x: Tensor) -> Tensor:
            x = x * 2
            y = F.linear(x, self.loose.weight)
            return self.head(y + F.relu(x, inplace=self.inplace))

    torch.manual_seed(0)
    writing, plain = Loose(True), Loose(False)
    writing.load_state_dict(plain.state_dict())
    calibration = cap.Calibration(torch.randn(6, 8), torch.arange(6) % 3)
    theirs = brute_force(plain, cap.select_layers(plain, ["loose.weight"]), calibration)
    [ours] = calibration.gradients(writing, cap.select_layers(writing, ["loose.weight"]))
    torch.testing.assert_close(ours["loose.weight"], theirs["loose.weight"])


def test_layer_inputs_are_those_that_the_layer_read(models) -> None:
    writing, plain = models
    read: dict[str, list[Tensor]] = {}
    for name in ("fc1", "fc2"):
        plain.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: read.setdefault(name, []).append(args[0].reshape(-1, 8).clone())
        )
    plain(data().images)
    batches = list(data().layer_inputs(writing, cap.select_layers(writing, [r"fc\d.weight"])))
    for name, [rows] in read.items():
        torch.testing.assert_close(torch.cat([batch[f"{name}.weight"][0] for batch in batches]), rows)


@pytest.mark.parametrize("name", ["cap", "wanda", "sparsegpt"])
def test_pruners_see_no_difference(models, name: str) -> None:
    pruned = [
        cap.create(name)
        .fit(model, cap.select_layers(model, [r"(.*(conv\d|shortcut)|fc\d).weight"]), data())
        .prune(cap.Unstructured(0.5, scope="layer"))
        for model in models
    ]
    for layer, mask in pruned[0].masks.items():
        assert mask.equal(pruned[1].masks[layer])
        torch.testing.assert_close(pruned[0].weights[layer], pruned[1].weights[layer], rtol=1e-3, atol=1e-5)


def test_images_made_in_inference_mode(models) -> None:
    writing, plain = models
    with torch.inference_mode():
        images = torch.randn(6, 3, 9, 9)
    layers = {"wanda": r"fc\d.weight", "gradient_weight": r"(.*conv\d|fc\d).weight"}
    for name, pattern in layers.items():
        masks = []
        for model in (writing, plain):
            calibration = cap.Calibration(images, torch.arange(6) % 5)
            pruner = cap.create(name).fit(model, cap.select_layers(model, [pattern]), calibration)
            masks.append(pruner.prune(cap.Unstructured(0.5, scope="layer")).masks)
        assert all(mask.equal(masks[1][layer]) for layer, mask in masks[0].items())
