"""Compiled models: what `cap.runtime.compile` returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cap.runtime.report import Report


class CompiledModel(nn.Module):
    """A model for inference in float32 on the CPU whose pruned layers are sparse.

    It is called as the model is, under `torch.inference_mode()` or `torch.no_grad()`.
    """

    def __init__(self, model: nn.Module, report: Report) -> None:
        super().__init__()
        self.model = model
        self._report = report
        self.eval()

    def report(self) -> Report:
        """Returns what was replaced and why."""
        return self._report

    def train(self, mode: bool = True) -> CompiledModel:
        """Refuses to train.

        Raises:
            RuntimeError: If `mode` is True.
        """
        if mode:
            raise RuntimeError("a compiled model is for inference only: train the pruned model, then compile it again")
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model.

        Raises:
            RuntimeError: If gradients are enabled.
            TypeError: If an input is of another type than float32 or on another device than the CPU.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("a compiled model has no gradients: call it under torch.inference_mode()")
        for tensor in (*args, *kwargs.values()):
            if isinstance(tensor, Tensor):
                check_tensor("the input", tensor)
        return self.model(*args, **kwargs)


def check_tensor(name: str, tensor: Tensor) -> None:
    """Makes sure that the runtime can compute with a tensor.

    Args:
        name: What the tensor is, for the message.
        tensor: Weight or input.

    Raises:
        TypeError: If it is of another floating-point type than float32 or on another device than the CPU.
    """
    if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
        raise TypeError(
            f"the sparse runtime computes in float32 on the CPU: {name} is {tensor.dtype} on {tensor.device}"
        )
