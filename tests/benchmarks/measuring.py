"""Shared parts of the benchmarks: sizes, and the embedded models."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import cap
from bench.data.fashion_mnist import load_split, to_input
from bench.models import get_model

# sizes that take a second, to test the benchmarks themselves; what they measure then means nothing
SMALL = os.environ.get("CAPBENCH_BENCHMARK_SIZE") == "small"
DEVICE = torch.device(os.environ.get("CAPBENCH_TEST_DEVICE", "cpu"))  # `cuda` in nox -s gpu_benchmark
Measure = Callable[..., Any]
IMAGES = 32 if SMALL else 2048


@functools.lru_cache(maxsize=1)
def setting(name: str) -> tuple[nn.Module, dict[str, nn.Parameter], torch.Tensor, torch.Tensor]:
    """An embedded model, its layers, training images and their labels."""
    spec = get_model("embedded", name)
    model = spec.load()
    chosen = load_split("train").subset(IMAGES, 0)
    return model, cap.select_layers(model, spec.prunable), to_input(chosen.images, spec.input_size), chosen.labels
