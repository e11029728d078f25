"""Kernels that work on every block: compiled for the CPU, in Triton for CUDA, in torch for all else."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from cap.kernels import batched, cpu, cpu_solves

logger = logging.getLogger(__name__)


def for_device(device: torch.device) -> ModuleType:
    """Returns the module whose functions serve a device; `cap.kernels.batched` tells what they do."""
    return cpu if device.type == "cpu" else batched


def solves_for(device: torch.device) -> ModuleType:
    """Returns the module whose solutions with packed triangles serve a device; `cap.kernels.batched` tells of them."""
    return cpu_solves if device.type == "cpu" else batched


def eliminator(device: torch.device) -> Callable[[Tensor, Tensor, int, int, int], tuple[Tensor, Tensor]]:
    """Returns the elimination for a device: see `cap.kernels.reference.eliminate_blocks`."""
    if device.type == "cuda" and has_triton():
        from cap.kernels import cuda

        return cuda.eliminate_blocks
    return for_device(device).eliminate_blocks


@cache
def has_triton() -> bool:
    """Returns whether Triton is there with the C compiler that it needs; says so once if it is there without."""
    if importlib.util.find_spec("triton") is None:
        return False
    if os.environ.get("CC") or any(map(shutil.which, ("clang", "gcc"))):
        return True
    logger.warning("the elimination runs in plain torch, which is slower: Triton needs a C compiler (gcc, clang or CC)")
    return False
