"""What the processor can do."""

from __future__ import annotations

import platform
import sys

from llvmlite import binding


def has_avx512() -> bool:
    """Returns whether the machine code of `cap.runtime.codegen` runs here: AVX-512 on 64-bit Linux."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(binding.get_host_cpu_features().get("avx512f"))
