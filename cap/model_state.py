"""Modes, gradient flags and values of a model: changed for a while, or told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode and each of its modules back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


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
