"""The fixture that measures benchmarks: every method of a group in one process, with the memory it takes."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import psutil
import pytest
import torch
from measuring import DEVICE, SMALL, Measure

from bench.core.peak_memory import start_peak
from bench.core.timing import seconds_since


@pytest.fixture
def measure(benchmark) -> Measure:  # type: ignore[no-untyped-def]
    """Measures one method of a group: its time in every round, and the most memory it took beyond what was in use."""

    def run(
        group: str,
        method: str,
        function: Callable[[], Any],
        rounds: int = 3,
        place: torch.device = DEVICE,
        **columns: Any,
    ) -> Any:
        extra: list[int] = []
        state: dict[str, Any] = {}

        def before() -> None:
            ctypes.CDLL(None).malloc_trim(0) if platform.system() == "Linux" else None
            on_card = place.type == "cuda"
            state["used"] = torch.cuda.memory_allocated(place) if on_card else psutil.Process().memory_info().rss
            state["peak"] = start_peak(place)

        def timed() -> Any:
            result = function()
            seconds_since(0.0, place.type)  # waits for the device
            peak = state["peak"]()
            if peak is not None:
                extra.append(max(0, peak - state["used"]))
            return result

        benchmark.group = group
        result = benchmark.pedantic(timed, setup=before, rounds=1 if SMALL else rounds, iterations=1)
        benchmark.extra_info |= {"method": method, "peak_extra_bytes": max(extra, default=None), **columns}
        return result

    return run


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Keeps what a reader needs to judge the numbers; the machine's name is no part of it."""
    cpu = machine_info["cpu"]
    machine_info.clear()
    machine_info |= {
        "cpu": cpu["brand_raw"],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numba", "numpy", "timm")},
    }
    if DEVICE.type == "cuda":
        card = torch.cuda.get_device_properties(DEVICE)
        machine_info |= {"card": card.name, "card_memory_bytes": card.total_memory, "cuda": torch.version.cuda}
