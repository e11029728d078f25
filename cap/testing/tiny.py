"""A tiny model with every kind of prunable layer, and calibration images for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

import cap
from cap.gradients import GradientBatch

LAYERS = r"(mix|qkv|fc\d).weight"
PATTERN_LAYERS = r"(qkv|fc\d).weight"  # whose inputs are multiples of 8


class TinyNet(nn.Module):
    """Small model with every kind of prunable layer: convolutions, grouped too, a fused qkv, an MLP over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.qkv = nn.Linear(8, 24)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (n, 1, 8, 8) to (n, 5)."""
        x = torch.relu_(self.norm(self.mix(torch.relu(self.stem(images)))))
        x = x.flatten(2).transpose(1, 2)  # (n, tokens, 8)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = x + (q @ k.transpose(1, 2)).softmax(-1) @ v
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(x)))
        return self.head(x.mean(1))


def tiny_model() -> TinyNet:
    """Returns the tiny model in eval mode; the same weights every time."""
    torch.manual_seed(0)
    net = TinyNet()
    assert net.norm.running_mean is not None
    net.norm.running_mean += 0.1
    return net.eval()


def tiny_layers(model: nn.Module, pattern: str = LAYERS) -> dict[str, nn.Parameter]:
    """Returns the prunable weights of the tiny model."""
    return cap.select_layers(model, [pattern])


def tiny_calibration(gradient: Literal["sample", "batch"] = "sample") -> cap.Calibration:
    """Returns 48 random images in batches of 20; the same every time."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(48, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (48,), generator=generator)
    return cap.Calibration(images, labels, batch_size=20, gradient=gradient)


class WatchedCalibration(cap.Calibration):
    """A calibration set that remembers what it was asked for.

    Args:
        calibration: Images, labels and loss.

    Attributes:
        asked_for: Kinds of data asked for so far: `inputs`, `gradients`, or both.
    """

    def __init__(self, calibration: cap.Calibration) -> None:
        super().__init__(calibration.inputs, calibration.labels, calibration.loss, calibration.batch_size)
        self.share_resources(calibration)
        self.asked_for: set[str] = set()

    def gradient_batches(self, *args: Any, **kwargs: Any) -> Iterator[GradientBatch]:
        """Yields gradients."""
        self.asked_for.add("gradients")
        return super().gradient_batches(*args, **kwargs)

    def layer_inputs(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Tensor]]:
        """Yields layer inputs."""
        self.asked_for.add("inputs")
        return super().layer_inputs(*args, **kwargs)

    def sequential(self, *args: Any, **kwargs: Any) -> Iterator[cap.SequentialLayer]:
        """Yields layers to prune one after another."""
        self.asked_for.add("inputs")
        return super().sequential(*args, **kwargs)

    def split(self, fraction: float = 0.2) -> tuple[cap.Calibration, cap.Calibration]:
        """Returns two parts that are watched, too."""
        parts = [WatchedCalibration(part) for part in super().split(fraction)]
        for part in parts:
            part.asked_for = self.asked_for
        return parts[0], parts[1]
