"""Threads of the kernels that numba compiles."""

from __future__ import annotations

import numba
import torch


def use_torch_threads() -> None:
    """Sets numba's number of threads to torch's, and keeps torch's.

    When numba starts its threads it sets the number of OpenMP, which is torch's where both share the library: processes
    side by side with one thread each would have as many as there are cores from then on.
    """
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, most))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
