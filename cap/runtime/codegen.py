"""Code generation: the steps that multiply with a sparse weight matrix.

Activations are packed in panels (tiles, features, 16): a tile is sixteen tokens, one vector per feature. On AVX-512 a
step is machine code made for a few rows of one matrix: the sums of `GROUP` output rows stay in registers while the
inputs pass by, and each weight that is not zero costs one multiply-add instruction, no index and no branch. Elsewhere a
step is a matrix in compressed rows, which `cap.runtime.vectors` walks. Weights that are zero are not multiplied at all:
an infinite or undefined input does not pass through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numba
import numpy as np

from cap.runtime import encoder
from cap.runtime.encoder import LENGTH, RDI, RDX, REACH, RSI
from cap.runtime.memory import ExecutableMemory

TILE = 16  # tokens, and floats of a vector
VECTOR = 4 * TILE  # bytes
GROUP = 24  # output rows in registers at a time
INPUTS = 4  # registers for inputs, in turn: zmm28 to zmm31
BUDGET = 3000  # instructions of a step: as many as the first-level cache holds
_CACHE_LINE = 64
_INT3 = 0xCC  # a trap between two steps


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


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of one or more matrices.

    Attributes:
        steps: Table of steps, (n, len(Step)) int64.
        num_bytes: Size of code and weights, bytes.
        owners: Objects that keep the memory alive which the steps point to.
    """

    steps: np.ndarray
    num_bytes: int
    owners: tuple[Any, ...]

    def __deepcopy__(self, memo: object) -> Program:
        return self  # it never changes

    def __reduce__(self) -> Any:
        raise TypeError("a compiled model cannot be saved: save the pruned model and compile it where it runs")


class Assembler:
    """Collector of steps.

    Args:
        machine_code: Whether the steps are AVX-512 code, or compressed rows for any processor.
    """

    def __init__(self, machine_code: bool) -> None:
        self._add = self._add_code if machine_code else self._add_rows
        self._code: list[np.ndarray] = []
        self._code_at = 0
        self._steps: list[list[int]] = []
        self._owners: list[Any] = []
        self._num_bytes = 0

    def multiply(self, weight: np.ndarray, bias: np.ndarray | None) -> tuple[int, int]:
        """Adds the steps of `output = weight @ input + bias` for panels of exactly these features.

        Args:
            weight: Weights, (rows, columns) float32; a view of a larger matrix is fine.
            bias: Biases, (rows,) float32, or None to add the products to the output.

        Returns:
            The first step and the one after the last.
        """
        first = len(self._steps)
        self._add(weight, None if bias is None else np.ascontiguousarray(bias))
        return first, len(self._steps)

    def finish(self) -> Program:
        """Returns the program.

        Raises:
            OSError: If the system denies executable memory.
        """
        steps = np.array(self._steps, np.int64).reshape(-1, len(Step))
        if self._code:
            memory = ExecutableMemory(np.concatenate(self._code))
            self._owners.append(memory)
            steps[:, Step.CODE] += memory.address
        return Program(steps, self._num_bytes + self._code_at, tuple(self._owners))

    def _add_code(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        group = even_parts(len(weight), GROUP)[0][1]
        for (first, last), (left, right) in _blocks(weight):
            values = np.empty(np.count_nonzero(weight[first:last, left:right]) + last - first, np.float32)
            loads = -(-(last - first) // group) * (right - left)
            code = np.empty(LENGTH * (2 * len(values) + 2 * loads + 2 * (last - first) + 64), np.uint8)
            start = np.zeros(0, np.float32) if bias is None or left else bias
            length, used = _assemble(weight, start, first, last, left, right, group, code, values)
            values = values[:used].copy()
            self._steps.append([self._code_at, values.ctypes.data] + [0] * (len(Step) - 2))
            self._own(values)
            padded = -(-length // _CACHE_LINE) * _CACHE_LINE
            code[length:padded] = _INT3
            self._code.append(code[:padded].copy())
            self._code_at += padded

    def _add_rows(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        rows, columns = weight.shape
        row, column = np.nonzero(weight)
        parts = (
            weight[row, column],
            np.searchsorted(row, np.arange(rows + 1)),
            np.ascontiguousarray(column),  # numpy gives a strided view
            np.zeros(rows, np.float32) if bias is None else bias,
        )
        self._own(*parts)
        addresses = [part.ctypes.data for part in parts]
        self._steps.append([0, *addresses, bias is None, rows, columns * VECTOR, rows * VECTOR])

    def _own(self, *parts: np.ndarray) -> None:
        """Keeps arrays alive that the steps point to."""
        self._owners += parts
        self._num_bytes += sum(part.nbytes for part in parts)


def even_parts(size: int, most: int) -> list[tuple[int, int]]:
    """Cuts `range(size)` into as few parts of at most `most` as will do, of the same size but for the last."""
    step = -(-size // -(-size // most))
    return [(start, min(size, start + step)) for start in range(0, size, step)]


def _blocks(weight: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cuts a matrix into rows and columns of at most about `BUDGET` instructions each."""
    rows, columns = weight.shape
    done: list[tuple[tuple[int, int], tuple[int, int]]] = []
    cost, start = 0, 0
    for first, last in even_parts(rows, GROUP):
        more = np.count_nonzero(weight[first:last]) + columns
        if first > start and cost + more > BUDGET:
            done.append(((start, first), (0, columns)))
            cost, start = 0, first
        cost += more
        if cost > BUDGET and first == start:  # a single group is too much already
            parts = round(cost / BUDGET)
            done += [((first, last), part) for part in even_parts(columns, -(-columns // parts))]
            cost, start = 0, last
    return [*done, ((start, rows), (0, columns))] if start < rows else done


@numba.njit(cache=True)
def _assemble(
    weight: np.ndarray, bias: np.ndarray, first: int, last: int, left: int, right: int, group: int,
    code: np.ndarray, values: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Writes the code of some rows and columns, and in the order of their use the floats that it multiplies with.

    The code is a function of (input panel, output panel, floats, number of tiles) in the registers where the System V
    calling convention has them, and loops over the tiles. Inputs and floats beyond the reach of a displacement are
    reached by moving their register along. An empty `bias` stands for sums that go on from the output.

    Returns:
        Bytes of the code and number of floats.
    """
    rows, columns = weight.shape
    reach = 2 * REACH
    at = encoder.add(code, 0, RDI, REACH * VECTOR)
    at = encoder.add(code, at, RDX, REACH * 4)
    top = at
    page, used, turn, previous = 0, 0, 0, 0
    for start in range(first, last, group):
        stop = min(start + group, last)
        at = encoder.add(code, at, RSI, (start - previous) * VECTOR)
        previous = start
        for row in range(start, stop):
            if len(bias):
                if used and used % reach == 0:
                    at = encoder.add(code, at, RDX, reach * 4)
                at = encoder.broadcast(code, at, row - start, RDX, used % reach - REACH)
                values[used] = bias[row]
                used += 1
            else:
                at = encoder.load(code, at, row - start, RSI, row - start)
        for column in range(left, right):
            loaded = False
            for row in range(start, stop):
                value = weight[row, column]
                if value == 0:
                    continue
                if not loaded:
                    if column // reach != page:
                        at = encoder.add(code, at, RDI, (column // reach - page) * reach * VECTOR)
                        page = column // reach
                    turn = (turn + 1) % INPUTS
                    at = encoder.load(code, at, 31 - turn, RDI, column % reach - REACH)
                    loaded = True
                if used and used % reach == 0:
                    at = encoder.add(code, at, RDX, reach * 4)
                at = encoder.multiply_add(code, at, row - start, 31 - turn, RDX, used % reach - REACH)
                values[used] = value
                used += 1
        for row in range(start, stop):
            at = encoder.store(code, at, row - start, RSI, row - start)
    at = encoder.add(code, at, RDI, (columns - page * reach) * VECTOR)
    at = encoder.add(code, at, RSI, (rows - previous) * VECTOR)
    at = encoder.add(code, at, RDX, -(max(used - 1, 0) // reach * reach) * 4)
    return encoder.leave(code, encoder.loop(code, at, top)), used
