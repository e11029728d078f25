from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import cap
from cap.gradients import GradientBatch, per_sample_gradients


def loop(model: nn.Module, layers: dict[str, nn.Parameter], images: torch.Tensor, labels: torch.Tensor) -> dict:
    """The oracle: one backward pass per image."""
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for i in range(len(images)):
        loss = F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1])
        for name, gradient in zip(layers, torch.autograd.grad(loss, list(layers.values())), strict=True):
            rows[name].append(gradient.flatten())
    return {name: torch.stack(parts) for name, parts in rows.items()}


def whole(batch: GradientBatch, layers: dict[str, nn.Parameter]) -> dict:
    return {name: batch.of(name) for name in layers}


def assert_close(ours: dict, theirs: dict, tolerance: float = 1e-5) -> None:
    assert list(ours) == list(theirs)
    for name in theirs:
        assert (ours[name] - theirs[name]).norm() <= tolerance * theirs[name].norm(), name


def test_per_sample_equals_a_loop(model, layers, calibration) -> None:
    theirs = loop(model, layers, calibration.images, calibration.labels)
    parts = list(calibration.gradients(model, layers))
    assert [len(part["fc1.weight"]) for part in parts] == [20, 20, 8]
    assert_close({name: torch.cat([part[name] for part in parts]) for name in layers}, theirs)


def test_layers_used_twice_and_other_modules(calibration) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding="same")
            self.fc = nn.Linear(64, 64)
            self.bilinear = nn.Bilinear(8, 8, 5)

        def forward(self, images):
            x = F.relu(self.conv(images).mean(1).flatten(1), inplace=True)
            x = F.relu(self.fc(x), inplace=True)  # overwrites the layer's output
            x = self.fc(x).view(-1, 8, 8).mean(1)
            return self.bilinear(x, x.flip(1))

    torch.manual_seed(0)
    model = Odd()
    layers = cap.select_layers(model, [".*weight"])
    ours = whole(per_sample_gradients(model, layers, calibration.images, calibration.labels, F.cross_entropy), layers)
    assert_close(ours, loop(model, layers, calibration.images, calibration.labels))


def test_tied_weights_and_weights_used_without_their_module(calibration) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.loose = (nn.Linear(64, 64) for _ in range(3))
            self.other.weight = self.one.weight
            self.head = nn.Linear(64, 5)

        def forward(self, images):
            x = torch.tanh(self.other(torch.tanh(self.one(images.flatten(1)))))
            return self.head(F.linear(x, self.loose.weight))

    torch.manual_seed(0)
    model = Tied()
    layers = cap.select_layers(model, [".*weight"])
    assert list(layers) == ["one.weight", "loose.weight", "head.weight"]
    ours = whole(per_sample_gradients(model, layers, calibration.images, calibration.labels, F.cross_entropy), layers)
    assert_close(ours, loop(model, layers, calibration.images, calibration.labels))


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224", "convnext_atto"])
def test_real_architectures(name: str) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    pattern = {"s": r"layers.[01].*(attn.(qkv|proj)|mlp.fc\d|downsample.reduction).weight",
               "x": r".*locks.[01].*(attn.(qkv|q|k|v|proj)|mlp.fc\d).weight",
               "c": r"stages.[12].*(downsample.1|fc\d).weight"}[name[0]]  # fmt: skip
    layers = cap.select_layers(model, [pattern])
    images, labels = torch.randn(2, 3, 224, 224), torch.tensor([0, 3])
    ours = whole(per_sample_gradients(model, layers, images, labels, F.cross_entropy), layers)
    assert_close(ours, loop(model, layers, images, labels), tolerance=1e-4)


def test_batch_gradients_are_those_of_the_mean_loss(model, layers, calibration) -> None:
    batched = cap.Calibration(calibration.images, calibration.labels, batch_size=48, gradient="batch")
    [gradients] = batched.gradients(model, layers)
    theirs = loop(model, layers, calibration.images, calibration.labels)
    assert_close(gradients, {name: rows.mean(0, keepdim=True) for name, rows in theirs.items()})


class Aside(nn.Module):
    """A layer that every image goes through, and one whose use `forward` decides."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.aside = nn.Linear(4, 3), nn.Linear(4, 3)


def test_a_layer_that_some_batches_go_through_has_gradients() -> None:
    class Rare(Aside):
        def forward(self, x):
            return self.fc(x) + (self.aside(x) if x.sum() > 0 else 0)

    torch.manual_seed(0)
    rare = Rare()
    images = torch.rand(6, 4) * torch.tensor([-1.0, -1, -1, 1, -1, -1])[:, None]
    calibration = cap.Calibration(images, torch.arange(6) % 3, batch_size=1, gradient="batch")
    rows = [batch["aside.weight"] for batch in calibration.gradients(rare, cap.select_layers(rare, [".*weight"]))]
    assert sum(bool(row.any()) for row in rows) == 1
    cap.create("gradient_weight").fit(rare, cap.select_layers(rare, [".*weight"]), calibration)


@pytest.mark.parametrize("gradient", ["sample", "batch"])
def test_a_layer_whose_output_is_dropped_is_refused(gradient) -> None:
    class Dropped(Aside):
        def forward(self, x):
            self.aside(x)
            return self.fc(x)

    dropped = Dropped()
    calibration = cap.Calibration(torch.rand(6, 4), torch.arange(6) % 3, gradient=gradient)
    with pytest.raises(ValueError, match=r"aside\.weight is not called .* or without effect on the loss: leave it out"):
        list(calibration.gradients(dropped, cap.select_layers(dropped, [".*weight"])))


@pytest.mark.parametrize("gradient", ["sample", "batch"])
def test_a_weight_that_is_used_without_its_module_is_not_refused_for_gradients_of_zero(gradient) -> None:
    class Loose(Aside):
        def forward(self, x):
            return self.fc(F.pad(F.linear(x, self.aside.weight), (0, 1)))

    loose = Loose()
    with torch.no_grad():
        loose.fc.weight.zero_()
    calibration = cap.Calibration(torch.rand(6, 4), torch.arange(6) % 3, gradient=gradient)
    (gradients,) = calibration.gradients(loose, cap.select_layers(loose, [".*weight"]))
    assert not gradients["aside.weight"].any()
    assert gradients["fc.weight"].any()
