from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cap.runtime.memory import ExecutableMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RETURN_42 = np.frombuffer(bytes.fromhex("b8 2a 00 00 00 c3"), np.uint8)  # mov eax, 42; ret


def rights(address: int) -> str | None:
    """Returns the rights of the page at an address, such as "r-xp"; None if there is none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end, allowed = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
        if int(start, 16) <= address < int(end, 16):
            return allowed
    return None


def test_the_code_may_be_run_and_not_written() -> None:
    memory = ExecutableMemory(np.tile(RETURN_42, 1000))
    assert rights(memory.address) == "r-xp"
    assert ctypes.string_at(memory.address, 6) == RETURN_42.tobytes()


def test_the_memory_goes_with_its_owner() -> None:
    memory = ExecutableMemory(np.zeros(2**21, np.uint8))
    address = memory.address
    assert rights(address) == "r-xp"
    del memory
    gc.collect()
    assert rights(address) != "r-xp"
