"""Random pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.pruner import Needs, Pruner
from cap.registry import register


@register("random")
class Random(Pruner):
    """Removal of weights drawn at random: the control of every other pruner (as in Liu et al., 2022, arXiv 2202.02643).

    Scores are uniform on [0, 1). They depend on the seed that torch's default generator was last given, and on nothing
    that was drawn from it since.
    """

    needs: ClassVar[Needs] = "nothing"

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns random numbers, drawn on the CPU: the same on every device."""
        generator = torch.Generator().manual_seed(torch.initial_seed())
        return {
            name: torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
            for name, weight in layers.items()
        }
