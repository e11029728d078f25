"""Random pruning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.pruner import Needs, ScorePruner
from cap.registry import register


@register("random")
class Random(ScorePruner):
    """Removal of weights drawn at random: the control of every other pruner (as in Liu et al., 2022, arXiv 2202.02643).

    Scores are uniform on [0, 1), drawn on the CPU: the same on every device. They depend on the seed of the calibration
    set's generator, and on nothing that was drawn from it before.
    """

    needs: ClassVar[Needs] = "nothing"

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns random numbers; looks at no data."""
        generator = torch.Generator().manual_seed(calibration.generator.initial_seed())
        return {
            name: torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
            for name, weight in layers.items()
        }
