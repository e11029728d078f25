"""Peak memory of a section of code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start_peak(device: torch.device) -> Callable[[], int | None]:
    """Starts to watch the peak memory.

    Args:
        device: Device whose allocated memory is watched, if CUDA; otherwise it is this process's resident memory.

    Returns:
        A function that returns the peak since the start in bytes, or None where it cannot be measured.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        _CLEAR.write_text("5")  # resets the high-water mark (Linux, proc(5))
    except OSError:
        return lambda: None
    return _resident_peak


def _resident_peak() -> int | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None
