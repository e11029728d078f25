from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the tests must not fight others for the cores

import pytest
import torch
from torch import Tensor, nn

import cap


class TinyNet(nn.Module):
    """Every kind of prunable layer in one small model: convolutions, grouped too, a fused qkv, an MLP over tokens."""

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
        x = torch.relu_(self.norm(self.mix(torch.relu(self.stem(images)))))
        x = x.flatten(2).transpose(1, 2)  # (n, tokens, 8)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = x + (q @ k.transpose(1, 2)).softmax(-1) @ v
        x = x + self.fc2(torch.nn.functional.gelu(self.fc1(x)))
        return self.head(x.mean(1))


@pytest.fixture
def model() -> TinyNet:
    torch.manual_seed(0)
    net = TinyNet()
    net.norm.running_mean += 0.1
    return net.eval()


@pytest.fixture
def layers(model: TinyNet) -> dict[str, nn.Parameter]:
    return cap.select_layers(model, [r"(mix|qkv|fc\d).weight"])


@pytest.fixture
def calibration() -> cap.Calibration:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(48, 1, 8, 8, generator=generator)
    return cap.Calibration(images, torch.randint(0, 5, (48,), generator=generator), batch_size=20)
