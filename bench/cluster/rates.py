"""Rates of devices: measured ones of two processor cores, assumed ones of cards.

Those of the cores were fitted to the committed results of the embedded profile, and the tests hold them to these. No
GPU was measured: those rates are assumptions, told as such wherever they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

from cap.training.accelerator import AMPERE, TENSOR_CORES, Accelerator

DECODED = 150.0  # images of ImageNet's usual size that a core decodes and augments in a second, see docs/imagenet.md


@dataclass(frozen=True)
class Rates:
    """Rates of a device, in multiply-adds per second.

    Attributes:
        name: Name of the device.
        measured: Whether the rates were measured, or are assumed.
        inference: Forward passes in float32.
        gradients: Passes that give each image's gradients, in float32.
        training: Passes of training with the recipe's precision.
        gram: Sums of gradient products.
        solve: Factors, elimination, and reading off weights.
        image_seconds: Time to augment one training image that need not be decoded, seconds.
        memory_gib: Memory of the device, GiB; None where it is that of the machine.
        has_bfloat16: Whether it computes in bfloat16.
        decoded: Images that a core beside it decodes and augments in a second.
        trains_in: Precision and layout that training was measured with; empty where it was not.
    """

    name: str
    measured: bool
    inference: float
    gradients: float
    training: float
    gram: float
    solve: float
    image_seconds: float = 3e-4
    memory_gib: float | None = None
    has_bfloat16: bool = True
    decoded: float = DECODED
    trains_in: str = ""

    @property
    def accelerator(self) -> Accelerator:
        """Device in what its precisions depend on."""
        if self.memory_gib is None:
            return Accelerator("cpu")
        return Accelerator("cuda", AMPERE if self.has_bfloat16 else TENSOR_CORES)


def _card(name: str, half: float, single: float, memory_gib: float, has_bfloat16: bool = True) -> Rates:
    """Returns assumed rates: a quarter of what the maker states, a tenth of that for elimination.

    Args:
        name: Name of the card.
        half: Multiply-adds per second with half precision, as stated.
        single: Multiply-adds per second in float32, as stated.
        memory_gib: Memory, GiB.
        has_bfloat16: Whether it computes in bfloat16.
    """
    plain = single / 4
    return Rates(name, False, plain, plain, half / 4, plain, plain / 10,
                 memory_gib=memory_gib, has_bfloat16=has_bfloat16)  # fmt: skip


RATES = {
    rates.name: rates
    for rates in (
        Rates("cpu", True, 3e10, gradients=1.1e10, training=1.5e10, gram=3.2e10, solve=8e9),
        _card("a100", 156e12, 9.75e12, 80),
        _card("a100-40gb", 156e12, 9.75e12, 40),
        _card("h100", 495e12, 33e12, 80),
        _card("h200", 495e12, 33e12, 141),
        _card("v100", 62.5e12, 7.85e12, 32, has_bfloat16=False),
        _card("t4", 32.5e12, 4.05e12, 16, has_bfloat16=False),
        _card("a10", 62.5e12, 15.6e12, 24),
        _card("l40s", 181e12, 45.8e12, 48),
        _card("rtx4090", 82.6e12, 41.3e12, 24),
    )
}


def assumed_rates(device: str) -> Rates:
    """Returns the rates of a torch device that nothing else is known of, to bring trials together by."""
    return RATES["a100" if device.startswith("cuda") else "cpu"]
