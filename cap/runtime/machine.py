"""Capabilities of the processor."""

from __future__ import annotations

import platform
import sys

from llvmlite import binding

PORTABLE = "portable"


def has_avx512() -> bool:
    """Returns whether the machine code of `cap.runtime.codegen` runs here: AVX-512 on 64-bit Linux."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(binding.get_host_cpu_features().get("avx512f"))


def has_vnni() -> bool:
    """Returns whether the machine code for integers of eight bits runs here: AVX-512 with VNNI."""
    return has_avx512() and bool(binding.get_host_cpu_features().get("avx512vnni"))


def engine(int8: bool = False) -> str:
    """Returns which kernels run here: "avx512", of integers "avx512-vnni", or `PORTABLE`."""
    if int8:
        return "avx512-vnni"
    return "avx512" if has_avx512() else PORTABLE


def processor() -> str:
    """Returns the processor's name as LLVM has it, such as "znver4"."""
    return str(binding.get_host_cpu_name())
