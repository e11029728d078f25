"""How the learning rate moves during training."""

from __future__ import annotations


def linear(step: int, steps: int, start: float, end: float) -> float:
    """Returns the value at `step` of a straight line from `start` at step 0 to `end` at the last step."""
    return start + (end - start) * step / max(1, steps - 1)
