"""Code generation: the steps that multiply with a sparse weight matrix.

Activations are packed in panels (tiles, features, 16): a tile is sixteen tokens, one vector per feature. On AVX-512 a
step is machine code made for a few rows of one matrix: the sums of `GROUP` output rows stay in registers while the
inputs pass by, and each weight that is not zero costs one multiply-add instruction, no index and no branch. Where few
are zero, a loop over all of them takes less memory. Elsewhere a
step is a matrix in compressed rows, which `cap.runtime.vectors` walks. Weights that are zero are not multiplied at all:
an infinite or undefined input does not pass through them.
"""

from __future__ import annotations

import numba
import numpy as np

from cap.runtime import encoder
from cap.runtime.encoder import LENGTH, RAX, RCX, RDI, RDX, REACH, RSI
from cap.runtime.program import ADDRESSES, Listing, Pool, Program, Step

TILE = 16  # tokens, and floats of a vector
VECTOR = 4 * TILE  # bytes
GROUP = 24  # output rows in registers at a time
INPUTS = 4  # registers for inputs, in turn: zmm28 to zmm31
UNROLL = 4  # columns in the loop of a dense step
DENSE = 0.8  # share of weights that are not zero from which on a loop over all is faster than code for each
BUDGET = 3000  # instructions of a step: as many as the first-level cache holds
_INT3 = 0xCC  # a trap between two steps


class Assembler:
    """Collector of steps.

    Args:
        machine_code: Whether the steps are AVX-512 code, or compressed rows for any processor.
    """

    def __init__(self, machine_code: bool) -> None:
        self._add = self._add_code if machine_code else self._add_rows
        self._code, self._data = Pool(_INT3), Pool(0)
        self._steps: list[list[int]] = []
        self._runs: list[tuple[int, int]] = []

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
        self._runs.append((first, len(self._steps)))
        return self._runs[-1]

    def finish(self) -> Program:
        """Returns the program.

        Raises:
            OSError: If the system denies executable memory.
        """
        steps = np.array(self._steps, np.int64).reshape(-1, len(Step))
        runs = np.array(self._runs, np.int64).reshape(-1, 2)
        return Program(Listing(steps, self._code.finish(), self._data.finish(), runs))

    def _add_code(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        group = even_parts(len(weight), GROUP)[0][1]
        if np.count_nonzero(weight) >= DENSE * weight.size:
            self._add_dense(weight, bias)
            return
        for (first, last), (left, right) in _blocks(weight):
            values = np.empty(np.count_nonzero(weight[first:last, left:right]) + last - first, np.float32)
            loads = -(-(last - first) // group) * (right - left)
            code = np.empty(LENGTH * (2 * len(values) + 2 * loads + 2 * (last - first) + 64), np.uint8)
            start = np.zeros(0, np.float32) if bias is None or left else bias
            length, used = _assemble(weight, start, first, last, left, right, group, code, values)
            place = self._code.add(code[:length]), self._data.add(values[:used])
            self._steps.append([*place, -1, -1, -1] + [0] * (len(Step) - len(ADDRESSES)))

    def _add_dense(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        start = np.zeros(0, np.float32) if bias is None else bias
        for first, last in even_parts(len(weight), GROUP):
            values = np.empty((last - first) * (weight.shape[1] + 1), np.float32)
            code = np.empty(LENGTH * ((last - first) * (2 * UNROLL + 3) + 64), np.uint8)
            length, used = _assemble_dense(weight, start, first, last, code, values)
            place = self._code.add(code[:length]), self._data.add(values[:used])
            self._steps.append([*place, -1, -1, -1] + [0] * (len(Step) - len(ADDRESSES)))

    def _add_rows(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        rows, columns = weight.shape
        row, column = np.nonzero(weight)
        parts = (
            weight[row, column],
            np.searchsorted(row, np.arange(rows + 1)),
            column,
            np.zeros(rows, np.float32) if bias is None else bias,
        )
        places = [self._data.add(part) for part in parts]
        self._steps.append([-1, *places, bias is None, rows, columns * VECTOR, rows * VECTOR])


class Replay(Assembler):
    """An assembler that hands out what another one made of the same matrices, and looks at none of them.

    Args:
        listing: What it made.
    """

    def __init__(self, listing: Listing) -> None:
        super().__init__(machine_code=False)
        self._listing, self._left = listing, iter(listing.runs.tolist())

    def multiply(self, weight: np.ndarray, bias: np.ndarray | None) -> tuple[int, int]:
        """Returns the steps of the next matrix.

        Raises:
            ValueError: If there were fewer matrices.
        """
        run = next(self._left, None)
        if run is None:
            raise ValueError("the kept steps are of fewer matrices")
        return run[0], run[1]

    def finish(self) -> Program:
        """Returns the program."""
        return Program(self._listing)


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
    return encoder.leave(code, encoder.loop(code, at, RCX, top)), used


@numba.njit(cache=True)
def _assemble_dense(
    weight: np.ndarray, bias: np.ndarray, first: int, last: int, code: np.ndarray, values: np.ndarray
) -> tuple[int, int]:
    """Does what `_assemble` does for at most `GROUP` rows and all columns, with a loop over all weights."""
    rows, columns = weight.shape
    group = last - first
    at = encoder.add(code, 0, RSI, first * VECTOR)
    top = at
    used = 0
    for i in range(group):
        if len(bias):
            at = encoder.broadcast(code, at, i, RDX, i)
            values[used] = bias[first + i]
            used += 1
        else:
            at = encoder.load(code, at, i, RSI, i)
    at = encoder.add(code, at, RDX, used * 4)
    for column in range(columns):
        for i in range(group):
            values[used] = weight[first + i, column]
            used += 1
    whole = columns // UNROLL
    if whole:
        at = encoder.move(code, at, RAX, whole)
        again = at
        at = encoder.loop(code, _multiply_columns(code, at, group, UNROLL), RAX, again)
    at = _multiply_columns(code, at, group, columns - whole * UNROLL)
    for i in range(group):
        at = encoder.store(code, at, i, RSI, i)
    at = encoder.add(code, at, RSI, rows * VECTOR)
    at = encoder.add(code, at, RDX, -used * 4)
    return encoder.leave(code, encoder.loop(code, at, RCX, top)), used


@numba.njit(cache=True)
def _multiply_columns(code: np.ndarray, at: int, group: int, columns: int) -> int:
    """Writes the code that multiplies the next columns with their inputs, and goes on to those after them."""
    for column in range(columns):
        at = encoder.load(code, at, 31 - column, RDI, column)
        for i in range(group):
            at = encoder.multiply_add(code, at, i, 31 - column, RDX, column * group + i)
    at = encoder.add(code, at, RDI, columns * VECTOR)
    return encoder.add(code, at, RDX, columns * group * 4)
