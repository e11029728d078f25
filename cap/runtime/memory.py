"""Memory for machine code: written first, executable afterwards, never both."""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np


class ExecutableMemory:
    """A read-only copy of machine code that the processor may run.

    The pages go back to the system when this object is collected.

    Args:
        code: Machine code, (n,) uint8.

    Attributes:
        address: Address of the code, a multiple of the page size.

    Raises:
        OSError: If the system denies executable memory.
    """

    def __init__(self, code: np.ndarray) -> None:
        self._pages = mmap.mmap(-1, len(code), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
        self._pages.write(code.tobytes())
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if protect(self.address, len(code), mmap.PROT_READ | mmap.PROT_EXEC):
            error = ctypes.get_errno()
            raise OSError(error, f"no executable memory for the sparse kernels: {os.strerror(error)}")

    def code(self) -> np.ndarray:
        """Returns a copy of the code."""
        return np.frombuffer(self._pages, np.uint8).copy()
