"""Time that work on a device takes."""

from __future__ import annotations

import time

import torch


def seconds_since(start: float, device: str) -> float:
    """Returns the seconds since `start`, a `time.perf_counter`, once the device has finished what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
