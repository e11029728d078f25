"""Hardware behind a torch device."""

from __future__ import annotations

import torch

from bench.core.provenance import processor


def hardware(device: str) -> str:
    """Returns the name of the card, or of the processor, behind a torch device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
