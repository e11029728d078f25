from __future__ import annotations

import mmap

import pytest
import torch

from bench.core.peak_memory import start_peak


def test_peak_memory_sees_a_large_tensor() -> None:
    peak = start_peak(torch.device("cpu"))
    before = peak()
    if before is None:
        pytest.skip("this machine does not let a process reset its own memory mark (/proc/self/clear_refs)")
    pages = mmap.mmap(-1, 200_000_000)  # new to this process: torch may reuse memory that an earlier test left resident
    torch.frombuffer(pages, dtype=torch.float32).fill_(1)
    del pages
    after = peak()
    assert 150e6 < after - before < 400e6
    assert start_peak(torch.device("cpu"))() < after
