"""Kernels that work on every block: compiled for the CPU, in Triton for CUDA, in torch for all else."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from cap.kernels import batched, cpu


def for_device(device: torch.device) -> ModuleType:
    """Returns the module whose functions serve a device; `cap.kernels.batched` tells what they do."""
    return cpu if device.type == "cpu" else batched


def eliminator(device: torch.device) -> Callable[[Tensor, Tensor, int, int, int], tuple[Tensor, Tensor]]:
    """Returns the elimination for a device: see `cap.kernels.reference.eliminate_blocks`."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from cap.kernels import cuda

        return cuda.eliminate_blocks
    return for_device(device).eliminate_blocks
