"""Programs: tables of steps that multiply with sparse matrices, with the code and the weights that they point to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from cap.runtime.memory import ExecutableMemory

CACHE_LINE = 64  # bytes


class Step(IntEnum):
    """Columns of a table of steps."""

    CODE = 0  # address of the machine code, or 0: then the rest counts
    VALUES = 1  # address of the weights, float32; in machine code with the biases among them
    STARTS = 2  # address of the offsets at which each row's weights begin and the last one's end, int64
    COLUMNS = 3  # address of the weights' columns, int64
    BIAS = 4  # address of the biases, float32
    ADDS = 5  # 1 to add to what the output holds, 0 to overwrite it
    ROWS = 6
    INPUT_TILE = 7  # bytes from one tile of the input to the next
    OUTPUT_TILE = 8


ADDRESSES = (Step.CODE, Step.VALUES, Step.STARTS, Step.COLUMNS, Step.BIAS)


@dataclass(frozen=True, eq=False)
class Listing:
    """The steps of one or more matrices before they have addresses, as they are kept on disk.

    Attributes:
        steps: Table of steps, (n, len(Step)) int64, with offsets in `code` and `data` for addresses; -1 for none.
        code: Machine code, uint8; of no length for compressed rows.
        data: Weights, biases and indices, uint8.
        runs: First step of each matrix and the one after its last, (matrices, 2) int64.
    """

    steps: np.ndarray
    code: np.ndarray
    data: np.ndarray
    runs: np.ndarray


class Program:
    """Steps that can be run.

    Args:
        listing: The steps.

    Attributes:
        steps: Table of steps, (n, len(Step)) int64.
        num_bytes: Size of code and weights, bytes.

    Raises:
        OSError: If the system denies executable memory.
    """

    def __init__(self, listing: Listing) -> None:
        self._offsets, self._data, self._runs = listing.steps, listing.data, listing.runs
        self._memory = ExecutableMemory(listing.code) if len(listing.code) else None
        self.num_bytes = len(listing.code) + len(listing.data)
        self.steps = listing.steps.copy()
        code = 0 if self._memory is None else self._memory.address
        for column in ADDRESSES:
            start = code if column is Step.CODE else self._data.ctypes.data
            self.steps[:, column] = np.where(listing.steps[:, column] < 0, 0, listing.steps[:, column] + start)

    def listing(self) -> Listing:
        """Returns the steps as they can be kept on disk."""
        code = np.zeros(0, np.uint8) if self._memory is None else self._memory.code()
        return Listing(self._offsets, code, self._data, self._runs)

    def __deepcopy__(self, memo: object) -> Program:
        return self  # it never changes

    def __reduce__(self) -> Any:
        raise TypeError("a compiled model cannot be pickled: save the pruned model, and compile it with cache=FOLDER")


class Pool:
    """Collector of bytes, put one after another, each part at the start of a cache line.

    Args:
        filler: Byte between the parts.
    """

    def __init__(self, filler: int) -> None:
        self._filler, self._parts, self._length = filler, list[np.ndarray](), 0

    def add(self, part: np.ndarray) -> int:
        """Returns the offset at which a copy of the part is."""
        offset, raw = self._length, np.ascontiguousarray(part).view(np.uint8)
        padded = np.full(-(-len(raw) // CACHE_LINE) * CACHE_LINE, self._filler, np.uint8)
        padded[: len(raw)] = raw
        self._parts.append(padded)
        self._length += len(padded)
        return offset

    def finish(self) -> np.ndarray:
        """Returns all bytes, uint8."""
        return np.concatenate([np.zeros(0, np.uint8), *self._parts])
