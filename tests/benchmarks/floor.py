"""The floor of a fit: what no way of doing it can save, at the rates of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from measuring import SMALL
from torch import Tensor, nn

from cap import calibration as calibration_module
from cap import elimination
from cap.gradients import GradientBatch
from cap.kernels import for_device

GEMM = 256 if SMALL else 2048  # side of the matrices that the rate is measured with
SECONDS = 0.02 if SMALL else 3.0  # of each measurement of a rate


@dataclass(frozen=True)
class Floor:
    """Least time of a fit of CAP, seconds.

    Attributes:
        passes: A plain forward and backward pass over the same images, in the same batches, one gradient a batch.
        gram: `m B^2 / 2` multiply-adds a block, the lower triangle of a sum of m outer products.
        inverse: `B^3 / 2`, by a Cholesky decomposition.
        elimination: `B^3 / 6`, of the rows that are left at each step.
    """

    passes: float
    gram: float
    inverse: float
    elimination: float

    @property
    def seconds(self) -> float:
        """The whole of it."""
        return sum(asdict(self).values())


def clock(device: torch.device) -> float:
    """Returns seconds, once the device has done what it was given.

    On the CPU they are those that this process computed: others at work there do not count.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def rate(work: float, run: Callable[[], object], device: torch.device) -> float:
    """Returns how much work a second a function does, called for some seconds after a first time."""
    run()
    calls, start = 0, clock(device)
    while clock(device) - start < SECONDS or not calls:
        run()
        calls += 1
    return work * calls / (clock(device) - start)


def gemm_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Returns the multiply-adds a second of a matrix product."""
    a, b = (torch.randn(GEMM, GEMM, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return rate(float(GEMM) ** 3, lambda: torch.mm(a, b, out=out), device)


def measure_floor(
    model: nn.Module, layers: Mapping[str, Tensor], images: Tensor, labels: Tensor, batch: int, block_size: int
) -> Floor:
    """Measures the floor of a fit to these images, all of whose gradients are in the Fisher.

    Args:
        model: The model.
        layers: Weights to prune, {name: weight}.
        images: Images, (m, ...).
        labels: Labels, (m,).
        batch: Images in one forward pass.
        block_size: B, number of weights in a block.
    """
    weights, device = [model.get_parameter(name) for name in layers], next(model.parameters()).device
    parts = [(x.to(device), y.to(device)) for x, y in zip(images.split(batch), labels.split(batch), strict=True)]

    def one_pass() -> None:
        for part, own in parts:
            torch.autograd.grad(F.cross_entropy(model(part), own), weights)

    one_pass()
    start = clock(device)
    one_pass()
    passes = clock(device) - start
    blocks = sum(-(-weight.numel() // block_size) for weight in layers.values())
    per_second = gemm_rate(torch.float64, device)  # as the sums and the elimination are
    cube = float(block_size) ** 3
    return Floor(
        passes,
        blocks * len(images) * block_size**2 / 2 / per_second,
        blocks * cube / 2 / per_second,
        blocks * cube / 6 / per_second,
    )


@dataclass
class Profile:
    """Seconds of a fit, by what it does.

    Attributes:
        device: Device of the fit.
        whole: Seconds of the whole fit.
        parts: {step: seconds}.
    """

    device: torch.device
    whole: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that does the same, its time added to that of a step."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = clock(self.device)
            try:
                return function(*args, **kwargs)
            finally:
                self.parts[step] = self.parts.get(step, 0.0) + clock(self.device) - start

        return run

    def as_columns(self, floor: Floor) -> dict[str, float | dict[str, float]]:
        """Returns what a benchmark keeps: seconds, their multiple of the floor, and both by steps."""
        rest = self.whole - sum(self.parts.values())
        return {
            "fit_seconds": self.whole, "floor_seconds": floor.seconds, "over_floor": self.whole / floor.seconds,
            "floor_parts": asdict(floor), "fit_parts": {**self.parts, "all else": rest},
        }  # fmt: skip


STEPS = {
    "add_gram": "sums of gradient products",
    "damped_mean": "sums to Fisher blocks",
    "invert_blocks": "inverse",
    "factor_blocks": "factors for every sparsity",
}


@contextmanager
def profiled(device: torch.device) -> Iterator[Profile]:
    """Times the fit that runs within, on the whole and by its steps."""
    profile, kernels = Profile(device), for_device(device)
    with ExitStack() as stack:
        for name, step in STEPS.items():
            stack.enter_context(mock.patch.object(kernels, name, profile.timed(step, getattr(kernels, name))))
        solve = profile.timed("elimination", elimination.eliminator(device))
        stack.enter_context(mock.patch.object(elimination, "eliminator", return_value=solve))
        forward = profile.timed("forward and backward", calibration_module.per_sample_gradients)
        stack.enter_context(mock.patch.object(calibration_module, "per_sample_gradients", forward))
        write = profile.timed("per-sample gradients from inputs and output gradients", GradientBatch.write)
        stack.enter_context(mock.patch.object(GradientBatch, "write", write))
        start = clock(device)
        yield profile
        profile.whole = clock(device) - start
