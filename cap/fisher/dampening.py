"""The dampening of a Fisher, absolute or in the scale of the Fisher itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

DampScale = Literal["absolute", "relative", "noise"]
DAMP_SCALES: tuple[DampScale, ...] = get_args(DampScale)
DIGITS = 9  # of a scale: sums in another order, as with less memory, do not change it
LEAST = 1e-30  # dampening of a block whose gradients are all zero, where any serves


def check_damp_scale(value: object) -> None:
    """Refuses what is no name of a scale.

    Raises:
        ValueError: If it is none.
    """
    if value not in DAMP_SCALES:
        raise ValueError(f"damp_scale={value!r} is not valid: choose from {', '.join(DAMP_SCALES)}")


@dataclass(frozen=True)
class Dampening:
    """What is added to the diagonal of a Fisher.

    Attributes:
        value: Dampening, in units of the scale.
        scale: Unit: `absolute` for 1; `relative` for the mean of F's diagonal over all weights that are pruned and not
            zero yet, one number a model; `noise` for `tr(F_b) / sqrt(m)` in each block b, with m gradients, which is as
            large as the error of the estimate (RobOP, ICML 2026). The last two go with the square of the gradients, so
            that a loss in other units gives the same masks and weights.
    """

    value: float
    scale: DampScale = "absolute"

    def of_model(self, mean_square: float) -> float:
        """Returns the absolute dampening of a relative one.

        Args:
            mean_square: Mean of F's diagonal.

        Raises:
            ValueError: If it is no number larger than 0.
        """
        if not 0 < mean_square < float("inf"):
            raise ValueError(f"the mean square of the gradients is {mean_square}: a relative dampening needs some")
        return self.value * float(f"{mean_square:.{DIGITS - 1}e}")

    def of_block(self, trace: float, num_gradients: int) -> float:
        """Returns the absolute dampening of a block, in units of its noise.

        Args:
            trace: Trace of F's block.
            num_gradients: m, number of gradients.
        """
        return float(self.of_blocks(torch.tensor([trace], dtype=torch.float64), num_gradients))

    def of_blocks(self, traces: Tensor, num_gradients: int) -> Tensor:
        """Returns the absolute dampening of blocks, (blocks,), in units of their noise.

        Args:
            traces: Traces of F's blocks, (blocks,).
            num_gradients: m, number of gradients.
        """
        return torch.where(traces > 0, self.value * traces / num_gradients**0.5, LEAST)

    def add_noise(self, fisher: Tensor, num_gradients: int) -> None:
        """Adds the dampening of each block in units of its noise.

        Args:
            fisher: F without dampening, (blocks, B, B), float64; changed in place.
            num_gradients: m, number of gradients.
        """
        diagonal = fisher.diagonal(dim1=1, dim2=2)
        diagonal += self.of_blocks(diagonal.sum(1), num_gradients)[:, None]
