"""Moving average of a model's weights during training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the parameters and running statistics (Polyak and Juditsky, 1992).

    The decay rises to its value as `(1 + n) / (10 + n)` over the first steps n, so that a short training does not end
    with an average of its beginning.

    Args:
        model: Model that is averaged, left as it is.
        decay: Largest decay, at least 0 and below 1.

    Raises:
        ValueError: If the decay is out of range.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema={decay} is not valid: the decay is at least 0 and below 1")
        self.model, self.decay = model, decay
        self.restart()

    def restart(self) -> None:
        """Begins anew with the present weights."""
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the present weights into the average; what is no float, such as a counter, is taken as it is."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """Returns the average and the number of steps in it."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores a state that `state_dict` returned."""
        steps, values = state["steps"], state["values"]
        assert isinstance(steps, int)
        assert isinstance(values, Mapping)
        here = {name: value.device for name, value in self.model.state_dict().items()}  # a file has it on the CPU
        self.steps = steps
        self.values = {name: value.to(here[name], copy=True) for name, value in values.items()}
