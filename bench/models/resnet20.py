"""ResNet-20 for images of 32 x 32 pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS, BLOCKS = (16, 32, 64), 3  # of each stage


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; where the shape changes that is a 1 x 1 convolution.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs (n, outputs, h, w) for inputs (n, inputs, h * stride, w * stride)."""
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(found + (x if self.downsample is None else self.downsample(x)))


class ResNet20(nn.Module):
    """ResNet-20 (He et al., 2015, arXiv 1512.03385, section 4.2), its shortcuts with convolutions (option B there).

    Names of parameters are those of the checkpoint that WoodFisher, M-FAC and CHITA prune.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.fc = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (n, classes) of images (n, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Returns the blocks of a stage, the first of which may have a stride."""
    return nn.Sequential(Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(BLOCKS - 1)))
