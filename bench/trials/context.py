"""Settings of a trial's execution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExecutionConfig:
    """Settings that a trial's results do not depend on.

    Attributes:
        device: The torch device.
        memory_budget: Bytes that a fit may take; None for what the device has free less a margin.
        micro_batch: Training images of one process in a forward pass; None for its share of a whole batch.
        folder: Folder of the trial's checkpoints; None for no checkpoints.
    """

    device: str = "cpu"
    memory_budget: int | None = None
    micro_batch: int | None = None
    folder: Path | None = None
