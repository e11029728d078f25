"""Threads that run a C function: torch's own OpenMP threads where they can be found, so that no others wait beside."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import torch

Function = Callable[[int], None]


def run_on_threads(address: int, argument: int, threads: int) -> None:
    """Calls a C function, void(void*), on each thread of a team, and returns when all have returned.

    Args:
        address: Address of the function.
        argument: Argument of the function, the same for all.
        threads: Number of threads.
    """
    function = _function(address)
    if threads == 1:
        function(argument)
    elif (parallel := openmp()) is not None:
        parallel(address, argument, threads, 0)
    else:
        others = [Thread(target=function, args=(argument,)) for _ in range(threads - 1)]
        for thread in others:
            thread.start()
        function(argument)
        for thread in others:
            thread.join()


@functools.cache
def _function(address: int) -> Function:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)


@functools.cache
def openmp() -> Callable[[int, int, int, int], None] | None:
    """Returns the entry to a parallel region of the OpenMP library that torch brings along, if it is GNU's."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            parallel = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        parallel.restype = None
        return parallel
    return None
