from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from bench.latency.rounds import MOST, OtherLoad, interleave


class Clock:
    """Goes on by as many seconds as passes take; notes who ran."""

    def __init__(self) -> None:
        self.now, self.ran = 0.0, []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, *seconds: float) -> Any:
        left = iter([*seconds[:-1]])

        def one() -> None:
            self.ran.append(name)
            self.now += next(left, seconds[-1])

        return one


def test_rounds_rotate_and_short_passes_are_warm() -> None:
    clock = Clock()
    passes = {"a": clock.run("a", 0.4, 0.1), "b": clock.run("b", 0.2), "c": clock.run("c", 2.0)}
    times = interleave(passes, 1.0, clock)
    assert clock.ran == [*"aabbc", *"bbcaa", *"caabb", *"aabbc", *"bbcaa"], "the long one is not run twice"
    assert times == {"a": pytest.approx([0.1] * 5), "b": pytest.approx([0.2] * 5), "c": pytest.approx([2.0] * 5)}


def test_rounds_fill_the_time_and_no_more() -> None:
    clock = Clock()
    times = interleave({"a": clock.run("a", 0.25), "b": clock.run("b", 0.25)}, 10.0, clock)
    assert len(times["a"]) == len(times["b"]) == 10, "a round takes a second"
    assert clock.now == pytest.approx(10.0)
    clock = Clock()
    assert len(interleave({"a": clock.run("a", 1e-4)}, 10.0, clock)["a"]) == MOST


def test_the_work_of_others_is_seen() -> None:
    watch = OtherLoad()
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", busy], check=True)
    taken = time.perf_counter() - began
    assert 0.25 < watch.cores() * taken < 1.1 * taken * (os.cpu_count() or 1)
    watch, began, used = OtherLoad(), time.perf_counter(), time.process_time()
    while time.process_time() < used + 0.3:
        pass
    cores = watch.cores()
    taken = time.perf_counter() - began
    assert cores * taken < (os.cpu_count() or 1) * taken - 0.25, "its own work is not that of others"
