"""Cost of layers: measured, and expected from this machine's calibrated speed."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numba
import torch
from torch import Tensor, nn

from cap.runtime import machine
from cap.runtime.codegen import TILE, Assembler
from cap.runtime.layers import SparseLinear

FORMAT = 2  # of the cached calibration: raised when the kernels or the way to measure change


@dataclass(frozen=True)
class Work:
    """Work of a sparse layer, in vectors of sixteen floats.

    Attributes:
        multiplies: Number of multiply-adds.
        moves: Number of inputs packed and outputs unpacked.
    """

    multiplies: float
    moves: float


@dataclass(frozen=True)
class Calibration:
    """Speed of this machine with the current number of threads.

    Attributes:
        multiply: Time of a multiply-add of a vector, seconds.
        move: Time of packing or unpacking a vector, seconds.
    """

    multiply: float
    move: float

    def seconds(self, work: Work) -> float:
        """Returns the expected time."""
        return self.multiply * work.multiplies + self.move * work.moves


def linear_work(tokens: int, *layers: nn.Linear | nn.Conv2d) -> Work:
    """Returns the work of layers one after another that are packed and unpacked once.

    Args:
        tokens: Number of rows of the input.
        layers: Layers whose weights are (outputs, inputs, ...).
    """
    tiles = -(-tokens // TILE)
    kept = sum(int(layer.weight.count_nonzero()) for layer in layers)
    return Work(tiles * kept, tiles * (layers[0].weight.shape[1] + layers[-1].weight.shape[0]))


def attention_work(images: int, tokens: int, qkv: nn.Linear, proj: nn.Linear) -> Work:
    """Returns the work of self-attention: its projections, and the scores and mixtures of each image.

    Args:
        images: Number of images.
        tokens: Number of tokens of an image.
        qkv: Projection to queries, keys and values.
        proj: Output projection.
    """
    tiles = -(-tokens // TILE)
    image = linear_work(tokens, qkv, proj)
    return Work(images * (image.multiplies + 2 * tiles * tiles * TILE * proj.in_features), images * image.moves)


def calibration() -> Calibration:
    """Returns this machine's speed, measured once for each number of threads and then kept in the user's cache."""
    path = _cache_path()
    key = f"{machine.processor()}, {machine.engine()}, numba {numba.__version__}, {torch.get_num_threads()} threads"
    known: dict[str, dict[str, float]] = {}
    try:
        known = json.loads(path.read_text())
        return Calibration(**known[key])
    except (OSError, ValueError, KeyError, TypeError):
        measured = measure_calibration()
    known = known if isinstance(known, dict) else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**known, key: asdict(measured)}, indent=1))
        draft.replace(path)
    except OSError:
        pass  # a cache that cannot be written costs a second the next time
    return measured


def median_seconds(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Returns the median time of each call in seconds; they are made in turn, see `interleave`.

    Args:
        calls: Calls to time.
        seconds: Time that all of it may take, seconds, but for the first three rounds.
    """
    return [median for (median,) in interleave([_timed(call) for call in calls], seconds)]


def interleave(
    measures: Sequence[Callable[[], list[float]]], seconds: float, most: int = 50,
    statistic: Callable[[Sequence[float]], float] = statistics.median, least: int = 3,
) -> list[list[float]]:  # fmt: skip
    """Measures in turn, so that what else goes on in the machine hits all alike.

    Args:
        measures: Functions that each return the seconds of some calls; each is called once before, to warm up.
        seconds: Time that all of it may take, seconds, but for the first `least` rounds.
        most: Largest number of rounds.
        statistic: Statistic of the rounds.
        least: Least number of rounds.

    Returns:
        For each function the statistic of each of its calls.
    """
    for measure in measures:
        measure()
    taken: list[list[list[float]]] = [[] for _ in measures]
    end = time.perf_counter() + seconds
    for done in range(most):
        if done >= least and time.perf_counter() > end:
            break
        for measure, rounds in zip(measures, taken, strict=True):
            rounds.append(measure())
    return [[statistic(times) for times in zip(*rounds, strict=True)] for rounds in taken]


def seconds_within(model: nn.Module, x: Tensor, modules: Sequence[nn.Module]) -> list[float]:
    """Runs a model once, and returns the seconds that each of some of its modules takes in that pass.

    Args:
        model: The model.
        x: Input of the model.
        modules: Modules to time.
    """
    taken = dict.fromkeys(modules, 0.0)

    def start(module: nn.Module, _: object) -> None:
        taken[module] -= time.perf_counter()

    def stop(module: nn.Module, _: object, __: object) -> None:
        taken[module] += time.perf_counter()

    hooks = [hook for module in taken for hook in (module.register_forward_pre_hook(start),
                                                   module.register_forward_hook(stop))]  # fmt: skip
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [taken[module] for module in modules]


@torch.inference_mode()
def measure_calibration() -> Calibration:
    """Measures the two costs: solves for them from a layer with few weights and one with many.

    The least times are taken: the result is kept, and should not tell how busy the machine was.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 384, generator=generator)
    calls, works = [], []
    for density in (0.05, 0.5):
        dense = nn.utils.skip_init(nn.Linear, 384, 384)
        weight = torch.randn(dense.weight.shape, generator=generator)
        dense.weight.copy_(weight * (torch.rand(weight.shape, generator=generator) < density))
        calls.append(_timed(partial(SparseLinear(dense, Assembler(machine.has_avx512())), x)))
        works.append(linear_work(len(x), dense))
    (few,), (many,) = interleave(calls, seconds=0.5, most=200, statistic=min)
    multiply = max(many - few, 0.1 * many) / (works[1].multiplies - works[0].multiplies)
    return Calibration(multiply, max(few - multiply * works[0].multiplies, 0.0) / works[0].moves)


def _timed(call: Callable[[], object]) -> Callable[[], list[float]]:
    """Returns a function that makes a call and returns its seconds."""

    def measure() -> list[float]:
        start = time.perf_counter()
        call()
        return [time.perf_counter() - start]

    return measure


def _cache_path() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "cap-bench" / f"runtime-{FORMAT}.json"
