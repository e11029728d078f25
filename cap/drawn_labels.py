"""Labels drawn from the model's own prediction: with them the Fisher is the true one, not the empirical one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class DrawnLabels:
    """Loss against labels that are drawn from the softmax of the outputs, one for each image.

    An image's label is the class in which a number of its own, uniform in [0, 1), falls when the probabilities are laid
    end to end. So it depends on the model and on that number alone, not on the images in the batch, and costs no
    forward pass of its own. Gradients with such labels have the Fisher information as second moment (Kunstner et al.,
    2019, arXiv 1905.12558), which is not nearly zero where the model fits the given labels perfectly.

    Attributes:
        loss: Function of (outputs, labels).
    """

    loss: Loss

    @staticmethod
    def numbers(images: int, seed: int) -> Tensor:
        """Returns the images' numbers, (images,), float64, the same for the same seed."""
        return torch.rand(images, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def __call__(self, outputs: Any, numbers: Tensor) -> Tensor:
        """Returns the loss against labels drawn with these numbers.

        Args:
            outputs: Logits, (n, classes).
            numbers: Numbers of the images, (n,).

        Raises:
            ValueError: If the outputs are no tensor of that shape.
        """
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(f"labels are drawn from outputs of shape (images, classes), not from {shape}")
        ends = outputs.detach().double().softmax(1).cumsum(1)
        labels = (ends[:, :-1] <= numbers[:, None]).sum(1)  # the last class takes what rounding leaves
        return self.loss(outputs, labels)
