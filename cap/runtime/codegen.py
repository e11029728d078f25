"""Code generation: the steps that multiply with a sparse weight matrix.

Activations are packed in panels (tiles, features, 16): a tile is sixteen tokens, one vector per feature. On AVX-512 a
step is machine code made for a few rows of one matrix: the sums of `GROUP` output rows stay in registers while the
inputs pass by, and each weight that is not zero costs one multiply-add instruction, no index and no branch. Where few
are zero, a loop over all of them takes less memory. Of integers of eight bits four weights are a word, which costs one
instruction unless all are zero; their inputs are (tiles, words of features, 16) and then the tokens' scales, see
`cap.runtime.int8`. Elsewhere a
step is a matrix in compressed rows, which `cap.runtime.vectors` walks. Weights that are zero are not multiplied at all:
an infinite or undefined input does not pass through them.
"""

from __future__ import annotations

import numba
import numpy as np

from cap.runtime import encoder
from cap.runtime.encoder import LENGTH, RAX, RCX, RDI, RDX, REACH, RSI
from cap.runtime.int8 import Words
from cap.runtime.program import ADDRESSES, Listing, Pool, Program, Step

TILE = 16  # tokens, and floats of a vector
VECTOR = 4 * TILE  # bytes
GROUP = 24  # output rows in registers at a time
INPUTS = 4  # registers for inputs, in turn: zmm28 to zmm31
UNROLL = 4  # columns in the loop of a dense step
DENSE = 0.8  # share of weights that are not zero from which on a loop over all is faster than code for each
BUDGET = 3000  # instructions of a step: as many as the first-level cache holds
_INT3 = 0xCC  # a trap between two steps
_REACHABLE = 2 * REACH  # words or vectors between two moves of their register
_SCALES = 27  # register of the tokens' scales


class Assembler:
    """Collector of steps.

    Args:
        machine_code: Whether the steps are AVX-512 code, or compressed rows for any processor.
        int8: Whether the code multiplies integers of eight bits, which takes VNNI: inputs must be quantized before.

    Attributes:
        int8: The same.

    Raises:
        ValueError: If compressed rows of integers are asked for.
    """

    def __init__(self, machine_code: bool, int8: bool = False) -> None:
        if int8 and not machine_code:
            raise ValueError("integers of eight bits need machine code")
        self.int8 = int8
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
        matrix = Words.quantized(weight, bias) if self.int8 else Words.floats(weight, bias)
        if np.count_nonzero(matrix.words) >= DENSE * matrix.words.size:
            self._add_dense(matrix)
            return
        group = even_parts(len(weight), GROUP)[0][1]
        for (first, last), (left, right) in _blocks(matrix.words):
            rows, loads = last - first, -(-(last - first) // group) * (right - left)
            values = np.empty(np.count_nonzero(matrix.words[first:last, left:right]) + 3 * rows, np.int32)
            code = np.empty(LENGTH * (2 * len(values) + 2 * loads + 4 * rows + 64), np.uint8)
            parts = matrix.words, matrix.start(left, right), matrix.scales, matrix.summands(left)
            self._add_step(code, values, _assemble(*parts, first, last, left, right, group, code, values))

    def _add_dense(self, matrix: Words) -> None:
        rows, columns = matrix.words.shape
        parts = matrix.words, matrix.start(0, columns), matrix.scales, matrix.summands(0)
        for first, last in even_parts(rows, GROUP):
            values = np.empty((last - first) * (columns + 3), np.int32)
            code = np.empty(LENGTH * ((last - first) * (2 * UNROLL + 6) + 64), np.uint8)
            self._add_step(code, values, _assemble_dense(*parts, first, last, code, values))

    def _add_step(self, code: np.ndarray, values: np.ndarray, used: tuple[int, int]) -> None:
        place = self._code.add(code[: used[0]]), self._data.add(values[: used[1]])
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
        int8: Whether that was of integers of eight bits.
    """

    def __init__(self, listing: Listing, int8: bool = False) -> None:
        super().__init__(machine_code=True, int8=int8)
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


def _blocks(words: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cuts a matrix into rows and columns of at most about `BUDGET` instructions each."""
    rows, columns = words.shape
    done: list[tuple[tuple[int, int], tuple[int, int]]] = []
    cost, start = 0, 0
    for first, last in even_parts(rows, GROUP):
        more = np.count_nonzero(words[first:last]) + columns
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
    words: np.ndarray, start: np.ndarray, scales: np.ndarray, bias: np.ndarray, first: int, last: int, left: int,
    right: int, group: int, code: np.ndarray, values: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Writes the code of some rows and columns, and in the order of their use the words that it multiplies with.

    The code is a function of (input panel, output panel, words, number of tiles) in the registers where the System V
    calling convention has them, and loops over the tiles. Inputs and words beyond the reach of a displacement are
    reached by moving their register along. An empty `start` stands for sums that go on from the output. With `scales`
    the words are integers, and the scaled sums are added to the `bias`, or if that is empty to the output.

    Returns:
        Bytes of the code and number of words.
    """
    rows, columns = words.shape
    at = encoder.add(code, 0, RDI, REACH * VECTOR)
    at = encoder.add(code, at, RDX, REACH * 4)
    top = at
    page, used, turn, previous = 0, 0, 0, 0
    for begin in range(first, last, group):
        end = min(begin + group, last)
        at = encoder.add(code, at, RSI, (begin - previous) * VECTOR)
        previous = begin
        for row in range(begin, end):
            if len(start):
                at = _reach_word(code, at, used)
                at = encoder.broadcast(code, at, row - begin, RDX, used % _REACHABLE - REACH)
                values[used] = start[row]
                used += 1
            else:
                at = encoder.load(code, at, row - begin, RSI, row - begin)
        for column in range(left, right):
            loaded = False
            for row in range(begin, end):
                if words[row, column] == 0:
                    continue
                if not loaded:
                    at, page = _reach_vector(code, at, page, column)
                    turn = (turn + 1) % INPUTS
                    at = encoder.load(code, at, 31 - turn, RDI, column % _REACHABLE - REACH)
                    loaded = True
                at = _reach_word(code, at, used)
                place = used % _REACHABLE - REACH
                if len(scales):
                    at = encoder.multiply_add_bytes(code, at, row - begin, 31 - turn, RDX, place)
                else:
                    at = encoder.multiply_add(code, at, row - begin, 31 - turn, RDX, place)
                values[used] = words[row, column]
                used += 1
        if len(scales):
            at, page = _reach_vector(code, at, page, columns)
            at = encoder.load(code, at, _SCALES, RDI, columns % _REACHABLE - REACH)
            at, used = _scale_sums(scales, bias, begin, end, code, at, values, used)
        for row in range(begin, end):
            at = encoder.store(code, at, row - begin, RSI, row - begin)
    at = encoder.add(code, at, RDI, (columns + (len(scales) > 0) - page * _REACHABLE) * VECTOR)
    at = encoder.add(code, at, RSI, (rows - previous) * VECTOR)
    at = encoder.add(code, at, RDX, -(max(used - 1, 0) // _REACHABLE * _REACHABLE) * 4)
    return encoder.leave(code, encoder.loop(code, at, RCX, top)), used


@numba.njit(cache=True)
def _scale_sums(
    scales: np.ndarray, bias: np.ndarray, begin: int, end: int, code: np.ndarray, at: int, values: np.ndarray, used: int
) -> tuple[int, int]:
    """Writes the code that makes floats of the sums of some rows; returns its end and the number of words."""
    for row in range(begin, end):
        at = _reach_word(code, encoder.to_float(code, at, row - begin), used)
        at = encoder.multiply(code, at, row - begin, RDX, used % _REACHABLE - REACH)
        values[used] = scales[row]
        used += 1
        if len(bias):
            at = _reach_word(code, at, used)
            at = encoder.scale_and_add(code, at, row - begin, _SCALES, RDX, used % _REACHABLE - REACH)
            values[used] = bias[row]
            used += 1
        else:
            at = encoder.scale_and_add_vector(code, at, row - begin, _SCALES, RSI, row - begin)
    return at, used


@numba.njit(cache=True)
def _reach_word(code: np.ndarray, at: int, number: int) -> int:
    """Moves the words' register along where the next word is beyond its reach."""
    return encoder.add(code, at, RDX, _REACHABLE * 4) if number and number % _REACHABLE == 0 else at


@numba.njit(cache=True)
def _reach_vector(code: np.ndarray, at: int, page: int, number: int) -> tuple[int, int]:
    """Moves the inputs' register to where a vector is in reach; returns the offset and the new page."""
    if number // _REACHABLE != page:
        at = encoder.add(code, at, RDI, (number // _REACHABLE - page) * _REACHABLE * VECTOR)
    return at, number // _REACHABLE


@numba.njit(cache=True)
def _assemble_dense(
    words: np.ndarray, start: np.ndarray, scales: np.ndarray, bias: np.ndarray, first: int, last: int,
    code: np.ndarray, values: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Does what `_assemble` does for at most `GROUP` rows and all columns, with a loop over all words."""
    rows, columns = words.shape
    group, int8 = last - first, len(scales) > 0
    at = encoder.add(code, 0, RSI, first * VECTOR)
    top = at
    used = 0
    for i in range(group):
        if len(start):
            at = encoder.broadcast(code, at, i, RDX, i)
            values[used] = start[first + i]
            used += 1
        else:
            at = encoder.load(code, at, i, RSI, i)
    at = encoder.add(code, at, RDX, used * 4)
    for column in range(columns):
        for i in range(group):
            values[used] = words[first + i, column]
            used += 1
    whole = columns // UNROLL
    if whole:
        at = encoder.move(code, at, RAX, whole)
        again = at
        at = encoder.loop(code, _multiply_columns(code, at, group, UNROLL, int8), RAX, again)
    at = _multiply_columns(code, at, group, columns - whole * UNROLL, int8)
    tail = used
    if int8:
        at = encoder.load(code, at, _SCALES, RDI, 0)
        at = encoder.add(code, at, RDI, VECTOR)
        for i in range(group):
            at = encoder.multiply(code, encoder.to_float(code, at, i), i, RDX, used - tail)
            values[used] = scales[first + i]
            used += 1
            if len(bias):
                at = encoder.scale_and_add(code, at, i, _SCALES, RDX, used - tail)
                values[used] = bias[first + i]
                used += 1
            else:
                at = encoder.scale_and_add_vector(code, at, i, _SCALES, RSI, i)
    for i in range(group):
        at = encoder.store(code, at, i, RSI, i)
    at = encoder.add(code, at, RSI, rows * VECTOR)
    at = encoder.add(code, at, RDX, -tail * 4)
    return encoder.leave(code, encoder.loop(code, at, RCX, top)), used


@numba.njit(cache=True)
def _multiply_columns(code: np.ndarray, at: int, group: int, columns: int, int8: bool) -> int:
    """Writes the code that multiplies the next columns with their inputs, and goes on to those after them."""
    for column in range(columns):
        at = encoder.load(code, at, 31 - column, RDI, column)
        for i in range(group):
            place = column * group + i
            if int8:
                at = encoder.multiply_add_bytes(code, at, i, 31 - column, RDX, place)
            else:
                at = encoder.multiply_add(code, at, i, 31 - column, RDX, place)
    at = encoder.add(code, at, RDI, columns * VECTOR)
    return encoder.add(code, at, RDX, columns * group * 4)
