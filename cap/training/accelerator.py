"""Precision, layout and compilation of training, decided from what the device can do, here alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]
Compute = Literal["auto", "compile", "plain"]

TENSOR_CORES = (7, 0)  # compute capability of Volta: float16 at several times the rate of float32
AMPERE = (8, 0)  # bfloat16 and TF32 in hardware; before, torch computes bfloat16 by way of float32


@dataclass(frozen=True)
class ComputeMode:
    """How the passes of a training compute.

    Attributes:
        precision: Precision of the forward pass; weights and optimiser are in float32. The loss of float16 is scaled.
        tf32: Whether products of float32 values may have the 10 bits of TF32, which is as many as float16 has.
        channels_last: Whether images are laid out with the channels last, which is what convolutions in half precision
            and TF32 want.
        compiled: Whether the model goes through `torch.compile`.
    """

    precision: Precision = "float32"
    tf32: bool = False
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        flags = {"tf32": self.tf32, "channels_last": self.channels_last, "compiled": self.compiled}
        return ", ".join([self.precision, *(name for name, used in flags.items() if used)])


@dataclass(frozen=True)
class Accelerator:
    """A device in what its precisions depend on.

    Attributes:
        kind: Type of the torch device, such as `cpu` or `cuda`.
        capability: CUDA's compute capability of the card; None for other devices.
    """

    kind: str
    capability: tuple[int, int] | None = None

    @classmethod
    def of(cls, device: str | torch.device) -> Accelerator:
        """Returns the accelerator behind a torch device."""
        device = torch.device(device)
        return cls(device.type, torch.cuda.get_device_capability(device) if device.type == "cuda" else None)

    @property
    def has_bfloat16(self) -> bool:
        """Whether bfloat16 is computed as fast as float16; of other devices than CUDA's it is taken as asked for."""
        return self.capability is None or self.capability >= AMPERE

    def mode(self, precision: Precision, convolutional: bool = False, compute: Compute = "auto") -> ComputeMode:
        """Returns how a training computes.

        A card without bfloat16 takes float16, which has tensor cores since Volta, and an older one float32. What a
        processor does is left as asked for, so that its results stay the same bits.

        Args:
            precision: Precision of the recipe; float32 and float16 are kept.
            convolutional: Whether the model is mostly made of convolutions, see `is_convolutional`.
            compute: `auto` for what suits the device, `compile` for the same through `torch.compile`, `plain` for the
                recipe's precision and nothing else.
        """
        if compute == "plain":
            return ComputeMode(precision)
        compiled = compute == "compile"
        if self.capability is None:
            return ComputeMode(precision, compiled=compiled)
        if precision == "bfloat16" and not self.has_bfloat16:
            precision = "float16" if self.capability >= TENSOR_CORES else "float32"
        tf32 = self.capability >= AMPERE
        on_tensor_cores = self.capability >= TENSOR_CORES and (tf32 or precision != "float32")
        return ComputeMode(precision, tf32, convolutional and on_tensor_cores, compiled)

    def half_precision(self) -> AbstractContextManager[object]:
        """Returns a context of forward passes in the half precision of a card; in float32 where there is none."""
        precision = self.mode("bfloat16").precision
        if self.kind != "cuda" or precision == "float32":
            return nullcontext()
        return torch.autocast("cuda", getattr(torch, precision))


def is_convolutional(model: nn.Module) -> bool:
    """Returns whether a quarter or more of a model's layers are convolutions: of a ViT the first one alone is."""
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    linear = sum(isinstance(module, nn.Linear) for module in model.modules())
    return convolutions > 0 and 3 * convolutions >= linear


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Lets products of float32 values on CUDA have the precision of TF32, or all 24 bits.

    torch's own default is TF32 for convolutions and float32 for other products.

    Args:
        tf32: Whether TF32 is allowed.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = tf32
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
