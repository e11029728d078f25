from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("triton_kernel.py")


def test_the_kernel_in_the_interpreter(device: str) -> None:
    """In a process of its own: Triton decides when it is loaded whether it interprets."""
    pytest.importorskip("triton")
    if device != "cpu":
        pytest.skip("the card runs the compiled kernel")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(command, env={**environment, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
