"""Modes, gradient flags and values of a model: changed for a while, or told apart."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode and each of its modules back into its own mode afterwards.

    Meanwhile every module is called as such, so that hooks see its inputs: what `torch.compile` made runs uncompiled,
    and attention without the fused kernel that replaces its modules in eval mode. It computes in `full_precision`.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _uncompiled(), full_precision():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def full_precision() -> Iterator[None]:
    """Lets CUDA multiply float32 in float32: convolutions are in TF32 by default, with ten bits of each factor."""
    cudnn: Any = torch.backends.cudnn  # whose parts its type stubs do not know
    backends = cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _uncompiled() -> AbstractContextManager[object]:
    """Returns a context in which nothing runs compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading it takes a second
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def differentiable(model: nn.Module, weights: list[nn.Parameter]) -> Iterator[None]:
    """Lets gradients flow to these weights, frozen or not, and to no others: what comes before them is not recorded."""
    states = [(weight, weight.requires_grad) for weight in model.parameters()]
    for weight, _ in states:
        weight.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, state in states:
            weight.requires_grad_(state)


def fingerprint(model: nn.Module) -> str:
    """Returns a hash of a model's architecture and values."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
