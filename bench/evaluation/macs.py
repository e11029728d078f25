"""Multiply-adds of a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class MACs:
    """Multiply-adds of one forward pass for one image.

    Attributes:
        total: Multiply-adds of the whole dense model: layers, convolutions and attention products.
        layers: Multiply-adds of single weights, {parameter name: count}, for the weights asked for.
    """

    total: int
    layers: dict[str, int]

    def sparse(self, sparsities: dict[str, float]) -> int:
        """Returns the multiply-adds left when each layer skips its zeros: {parameter name: fraction of zeros}."""
        return round(self.total - sum(self.layers[name] * sparsity for name, sparsity in sparsities.items()))


@torch.no_grad()
def count_macs(model: nn.Module, layers: Iterable[str], image: Tensor) -> MACs:
    """Counts multiply-adds with torch's own counter; attention runs as plain matrix products, so that it sees them.

    Args:
        model: Dense model.
        layers: Names of weights whose multiply-adds are wanted.
        image: Single input, (1, channels, height, width).
    """
    model.eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(image)
    root = type(model).__name__
    flops = {module: sum(counts.values()) for module, counts in counter.get_flop_counts().items()}
    shares = {name: flops[f"{root}.{name.rpartition('.')[0]}"] // 2 for name in layers}
    return MACs(counter.get_total_flops() // 2, shares)
