"""What layers cost: measured, and expected from what this machine was measured to do."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numba
import torch
from torch import Tensor, nn

from cap.runtime import machine
from cap.runtime.codegen import TILE
from cap.runtime.layers import SparseLinear

FORMAT = 1  # of the cached calibration: raised when the kernels change


@dataclass(frozen=True)
class Work:
    """What a sparse layer does, in vectors of sixteen floats.

    Attributes:
        multiplies: Multiply-adds.
        moves: Inputs packed and outputs unpacked.
    """

    multiplies: float
    moves: float


@dataclass(frozen=True)
class Calibration:
    """Seconds that this machine needs with the current number of threads.

    Attributes:
        multiply: For a multiply-add of a vector.
        move: For packing or unpacking one.
    """

    multiply: float
    move: float

    def seconds(self, work: Work) -> float:
        """Returns the expected time."""
        return self.multiply * work.multiplies + self.move * work.moves


def linear_work(tokens: int, *layers: nn.Linear | nn.Conv2d) -> Work:
    """Returns the work of layers one after another that are packed and unpacked once.

    Args:
        tokens: Rows of the input.
        layers: Their weights are (outputs, inputs, ...).
    """
    tiles = -(-tokens // TILE)
    kept = sum(int(layer.weight.count_nonzero()) for layer in layers)
    return Work(tiles * kept, tiles * (layers[0].weight.shape[1] + layers[-1].weight.shape[0]))


def attention_work(images: int, tokens: int, qkv: nn.Linear, proj: nn.Linear) -> Work:
    """Returns the work of self-attention: its projections, and the scores and mixtures of each image."""
    tiles = -(-tokens // TILE)
    image = linear_work(tokens, qkv, proj)
    return Work(images * (image.multiplies + 2 * tiles * tiles * TILE * proj.in_features), images * image.moves)


def calibration() -> Calibration:
    """Returns what this machine does, measured once for each number of threads and then kept in the user's cache."""
    path = _cache_path()
    key = f"{machine.processor()}, {machine.engine()}, numba {numba.__version__}, {torch.get_num_threads()} threads"
    known: dict[str, dict[str, float]] = {}
    try:
        known = json.loads(path.read_text())
        return Calibration(**known[key])
    except (OSError, ValueError, KeyError, TypeError):
        measured = _calibrate()
    known = known if isinstance(known, dict) else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**known, key: asdict(measured)}, indent=1))
        draft.replace(path)
    except OSError:
        pass  # a cache that cannot be written costs a second the next time
    return measured


def interleaved(calls: Sequence[Callable[[], object]], seconds: float, least: int = 3, most: int = 50) -> list[float]:
    """Times calls in turn, so that what else goes on in the machine hits all of them alike.

    Args:
        calls: What to time; each is called once before, to warm up.
        seconds: How long all of it may take, but for the least rounds.
        least: Rounds at least.
        most: Rounds at most.

    Returns:
        The median seconds of each.
    """
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    for done in range(most):
        if done >= least and time.perf_counter() > end:
            break
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


@torch.inference_mode()
def _calibrate() -> Calibration:
    """Solves for the two costs from a layer with few weights and one with many."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 384, generator=generator)
    calls, works = [], []
    for density in (0.05, 0.5):
        dense = nn.utils.skip_init(nn.Linear, 384, 384)
        weight = torch.randn(dense.weight.shape, generator=generator)
        dense.weight.copy_(weight * (torch.rand(weight.shape, generator=generator) < density))
        calls.append(_call(SparseLinear(dense, machine.has_avx512()), x))
        works.append(linear_work(len(x), dense))
    few, many = interleaved(calls, seconds=0.3, most=100)
    multiply = max(many - few, 0.1 * many) / (works[1].multiplies - works[0].multiplies)
    return Calibration(multiply, max(few - multiply * works[0].multiplies, 0.0) / works[0].moves)


def _call(module: nn.Module, x: Tensor) -> Callable[[], object]:
    return lambda: module(x)


def _cache_path() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "cap-bench" / f"runtime-{FORMAT}.json"
