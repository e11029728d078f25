"""Driver of the kernels, compiled by numba: each thread takes parts of a call, and runs the call's operations on them.

Numbers stand in tables of 64-bit integers; all is addresses and sizes, so that numba has little to infer and compiles
the whole in seconds.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import Any

import numba
from numba import types

from cap.runtime.attention import attend, cross_attend
from cap.runtime.codegen import TILE, VECTOR
from cap.runtime.int8 import quantize_tile, vectors_of
from cap.runtime.panels import (
    add_floats,
    copy_float,
    integer,
    normalize_tile,
    pack_tile,
    scale_and_shift,
    take_next,
    unpack_adding,
    unpack_streaming,
    unpack_tile,
    window_sum_16,
    window_sum_32,
)
from cap.runtime.program import Step
from cap.runtime.vectors import clamp, gelu, run_code, run_rows_fourfold, run_rows_once


class Header(IntEnum):
    """Entries of the table that describes a call."""

    NEXT_PART = 0  # counts up: part that the next thread takes
    NEXT_THREAD = 1  # counts up: number of the next thread
    PARTS = 2  # number of parts
    RUNS = 3  # parts of an image: its tiles are split into so many runs
    TOKENS = 4  # of an image
    OPERATIONS = 5  # address of the table of operations
    COUNT = 6  # number of operations that a part runs
    SEPARATE = 7  # 1 if each part runs other operations, on all tiles of one image; 0 if all run the same
    STEPS = 8  # address of the table of steps
    BUFFERS = 9  # address of the table of buffers: address, bytes from thread to thread, bytes from tile to tile
    MATRICES = 10  # address of the table of matrices: address, bytes of a row, bytes of an image


class Operation(IntEnum):
    """Kinds of operations. Buffers are panels, matrices have the tokens as rows; both are given by their number."""

    PACK = 0  # matrix, buffer, features
    NORMALIZE = 1  # buffer, features, address of the epsilon
    MULTIPLY = 2  # buffer, buffer, first step, the one after the last
    GELU = 3  # buffer, features
    UNPACK = 4  # buffer, matrix, features, first feature in the matrix, matrix that is added or -1, 1 for streaming
    ATTEND = 5  # buffer of projections, buffer of outputs, buffer of room, head, heads, features of a head
    CROSS_ATTEND = 6  # the same, and the address of the head's temperature
    CONVOLVE = 7  # see `_convolve`
    SCALE = 8  # matrix or -1 - buffer of (tokens, features), features, address of the factors, of the summands
    GELU_ROWS = 9  # buffer of (tokens, features), features: multiples of 16
    CLAMP = 10  # buffer, features, address of the least value, of the largest
    QUANTIZE = 11  # buffer, features, buffer of integers


FIELDS = 16  # of an operation: its kind and the values that its kind names
RECORD = 8 * FIELDS  # bytes
_NEXT_PART, _NEXT_THREAD, _PARTS, _RUNS, _TOKENS, _OPERATIONS, _COUNT, _SEPARATE, _STEPS, _BUFFERS, _MATRICES = (
    8 * field for field in Header
)
(
    _PACK, _NORMALIZE, _MULTIPLY, _GELU, _UNPACK, _ATTEND, _CROSS_ATTEND, _CONVOLVE, _SCALE, _GELU_ROWS, _CLAMP,
    _QUANTIZE,
) = map(int, Operation)  # fmt: skip
_CODE, _VALUES, _STARTS, _COLUMNS, _BIAS, _ADDS, _ROWS, _INPUT_TILE, _OUTPUT_TILE = (8 * field for field in Step)
_STEP = 8 * len(Step)


@functools.cache
def driver() -> Any:
    """Returns the compiled driver: its `address` is that of a C function that takes a call's address."""
    return numba.cfunc(types.void(types.int64), cache=True)(_drive)


def _drive(call: int) -> None:
    """Runs parts of a call until none is left."""
    thread = take_next(call + _NEXT_THREAD)
    part = take_next(call + _NEXT_PART)
    while part < integer(call + _PARTS):
        _run_part(call, thread, part)
        part = take_next(call + _NEXT_PART)


@numba.njit(error_model="numpy", inline="always")
def _run_part(call: int, thread: int, part: int) -> None:
    operations, count = integer(call + _OPERATIONS), integer(call + _COUNT)
    tiles = (integer(call + _TOKENS) + TILE - 1) // TILE
    image, first, last = 0, 0, tiles
    if integer(call + _SEPARATE):
        operations += part * count * RECORD
    else:
        runs = integer(call + _RUNS)
        image, run = part // runs, part % runs
        first, last = tiles * run // runs, tiles * (run + 1) // runs
    if first < last:
        for i in range(count):
            _operate(call, operations + i * RECORD, thread, image, first, last)


@numba.njit(error_model="numpy")
def _buffer(call: int, number: int, thread: int, first: int) -> int:
    """Address of a thread's buffer, or of the first tile's place in a buffer that threads share."""
    entry = integer(call + _BUFFERS) + 24 * number
    return integer(entry) + thread * integer(entry + 8) + first * integer(entry + 16)


@numba.njit(error_model="numpy")
def _matrix(call: int, number: int, image: int) -> int:
    """Address of the first row of an image."""
    entry = integer(call + _MATRICES) + 24 * number
    return integer(entry) + image * integer(entry + 16)


@numba.njit(error_model="numpy")
def _row(call: int, number: int) -> int:
    """Bytes of a row of a matrix."""
    return integer(integer(call + _MATRICES) + 24 * number + 8)


@numba.njit(error_model="numpy", inline="always")
def _operate(call: int, operation: int, thread: int, image: int, first: int, last: int) -> None:
    kind, tokens, tiles = integer(operation), integer(call + _TOKENS), last - first
    one, two, three = integer(operation + 8), integer(operation + 16), integer(operation + 24)
    if kind == _PACK:
        row = _row(call, one)
        source = _matrix(call, one, image) + first * TILE * row
        _pack(source, row, tokens - first * TILE, three, _buffer(call, two, thread, first), tiles)
    elif kind == _NORMALIZE:
        panels = _buffer(call, one, thread, first)
        for tile in range(tiles):
            normalize_tile(panels + tile * two * VECTOR, two, three)
    elif kind == _MULTIPLY:
        inputs, outputs = _buffer(call, one, thread, first), _buffer(call, two, thread, first)
        for step in range(three, integer(operation + 32)):
            _run_step(integer(call + _STEPS) + step * _STEP, inputs, outputs, tiles)
    elif kind == _GELU:
        gelu(_buffer(call, one, thread, first), tiles * two)
    elif kind == _UNPACK:
        row = _row(call, two)
        target = _matrix(call, two, image) + first * TILE * row + 4 * integer(operation + 32)
        added, residual, residual_row = integer(operation + 40), 0, 0
        if added >= 0:
            residual_row = _row(call, added)
            residual = _matrix(call, added, image) + first * TILE * residual_row + 4 * integer(operation + 32)
        _unpack(
            _buffer(call, one, thread, first), three, tiles, tokens - first * TILE, target, row, residual,
            residual_row, integer(operation + 48),
        )  # fmt: skip
    elif kind == _ATTEND:
        attend(
            _buffer(call, one, thread, first), _buffer(call, two, thread, first), _buffer(call, three, thread, first),
            integer(operation + 32), integer(operation + 40), integer(operation + 48), tokens,
        )  # fmt: skip
    elif kind == _CROSS_ATTEND:
        cross_attend(
            _buffer(call, one, thread, first), _buffer(call, two, thread, first), _buffer(call, three, thread, first),
            integer(operation + 32), integer(operation + 40), integer(operation + 48), integer(operation + 56), tokens,
        )  # fmt: skip
    elif kind == _CONVOLVE:
        _convolve(call, operation, thread, image, first * TILE, min(last * TILE, tokens))
    elif kind == _SCALE:
        rows, row = (
            (_matrix(call, one, image), _row(call, one)) if one >= 0 else (_buffer(call, -1 - one, thread, 0), 4 * two)
        )
        for token in range(first * TILE, min(last * TILE, tokens)):
            scale_and_shift(rows + token * row, three, integer(operation + 32), two // TILE)
    elif kind == _QUANTIZE:
        panels, words = _buffer(call, one, thread, first), _buffer(call, three, thread, first)
        for tile in range(tiles):
            quantize_tile(panels + tile * two * VECTOR, two, words + tile * vectors_of(two) * VECTOR)
    elif kind == _CLAMP:
        clamp(_buffer(call, one, thread, first), tiles * two, three, integer(operation + 32))
    elif kind == _GELU_ROWS:
        gelu(_buffer(call, one, thread, first), min(tiles * TILE, tokens) * two // TILE)


@numba.njit(error_model="numpy")
def _pack(source: int, row: int, tokens: int, features: int, panels: int, tiles: int) -> None:
    """Copies tiles of rows into panels; absent tokens repeat the last one."""
    for tile in range(tiles):
        rows, present = source + tile * TILE * row, min(TILE, tokens - tile * TILE)
        panel = panels + tile * features * VECTOR
        for feature in range(0, features - TILE + 1, TILE):
            pack_tile(rows + 4 * feature, row, present, panel + feature * VECTOR)
        if features % TILE and features > TILE:
            feature = features - TILE
            pack_tile(rows + 4 * feature, row, present, panel + feature * VECTOR)
        elif features < TILE:
            for i in range(TILE):
                for feature in range(features):
                    copy_float(rows + min(i, present - 1) * row + 4 * feature, panel + feature * VECTOR + 4 * i)


@numba.njit(error_model="numpy")
def _unpack(
    panels: int, features: int, tiles: int, tokens: int, target: int, row: int, residual: int, residual_row: int,
    streaming: int,
) -> None:  # fmt: skip
    """Copies panels to rows; `residual` is the address of rows that are added, or 0."""
    for tile in range(tiles):
        rows, present = target + tile * TILE * row, min(TILE, tokens - tile * TILE)
        others = residual + tile * TILE * residual_row
        panel = panels + tile * features * VECTOR
        for block in range((features + TILE - 1) // TILE):
            feature = max(0, min(block * TILE, features - TILE))
            place = rows + 4 * feature
            if features < TILE:
                _unpack_narrow(panel, features, present, rows, row, others, residual_row, residual)
            elif residual:
                unpack_adding(panel + feature * VECTOR, place, row, present, others + 4 * feature, residual_row)
            elif streaming and present == TILE:
                unpack_streaming(panel + feature * VECTOR, place, row, present, 0, 0)
            else:
                unpack_tile(panel + feature * VECTOR, place, row, present, 0, 0)


@numba.njit(error_model="numpy")
def _unpack_narrow(
    panel: int, features: int, present: int, rows: int, row: int, others: int, residual_row: int, residual: int
) -> None:
    """Does what `_unpack` does with a tile of less than 16 features."""
    for i in range(present):
        for feature in range(features):
            place, value = rows + i * row + 4 * feature, panel + feature * VECTOR + 4 * i
            if residual:
                add_floats(others + i * residual_row + 4 * feature, value, place)
            else:
                copy_float(value, place)


@numba.njit(error_model="numpy")
def _run_step(step: int, inputs: int, outputs: int, tiles: int) -> None:
    """Runs a step over consecutive tiles of panels, at least one."""
    code, values, bias, adds = (
        integer(step + _CODE),
        integer(step + _VALUES),
        integer(step + _BIAS),
        integer(step + _ADDS),
    )
    if code:
        run_code(code, inputs, outputs, values, tiles)
        return
    starts, columns, rows = integer(step + _STARTS), integer(step + _COLUMNS), integer(step + _ROWS)
    input_tile, output_tile = integer(step + _INPUT_TILE), integer(step + _OUTPUT_TILE)
    fourfold = tiles // 4 * 4
    for tile in range(0, fourfold, 4):
        run_rows_fourfold(
            values, starts, columns, bias, adds, rows,
            inputs + tile * input_tile, input_tile, outputs + tile * output_tile, output_tile,
        )  # fmt: skip
    for tile in range(fourfold, tiles):
        run_rows_once(
            values, starts, columns, bias, adds, rows,
            inputs + tile * input_tile, input_tile, outputs + tile * output_tile, output_tile,
        )  # fmt: skip


@numba.njit(error_model="numpy")
def _convolve(call: int, operation: int, thread: int, image: int, first: int, last: int) -> None:
    """Convolves channels of tokens that are the pixels of an image, each with a window of its own, padded by zeros.

    The operation's values: source (matrix, or -1 - buffer), target (the same), first channel, channels (multiple of
    16), address of weights (size, size, all channels), of biases, size of the window, all channels, width of the image,
    matrix that is added or -1. A buffer is the thread's own and has only the operation's channels.
    """
    one, two, three = integer(operation + 8), integer(operation + 16), integer(operation + 24)
    channels, weights, bias = integer(operation + 32), integer(operation + 40), integer(operation + 48)
    size, width, added = integer(operation + 56), integer(operation + 72), integer(operation + 80)
    tap, reach = 4 * integer(operation + 64), size // 2
    height = integer(call + _TOKENS) // width
    if one >= 0:
        row, source = _row(call, one), _matrix(call, one, image) + 4 * three
    else:
        row, source = 4 * channels, _buffer(call, -1 - one, thread, 0)
    if two >= 0:
        target_row, target = _row(call, two), _matrix(call, two, image) + 4 * three
    else:
        target_row, target = 4 * channels, _buffer(call, -1 - two, thread, 0)
    residual, residual_row = 0, 0
    if added >= 0:
        residual, residual_row = _matrix(call, added, image) + 4 * three, _row(call, added)
    for token in range(first, last):
        y, x = token // width, token % width
        top, left = max(0, reach - y), max(0, reach - x)
        lines, pixels = min(size, height + reach - y) - top, min(size, width + reach - x) - left
        corner = source + ((y + top - reach) * width + x + left - reach) * row
        factors = weights + (top * size + left) * tap + 4 * three
        other = residual + token * residual_row if residual else 0
        for channel in range(0, 4 * channels, 2 * VECTOR):
            beside = other + channel if residual else 0
            if channel + 2 * VECTOR <= 4 * channels:
                window_sum_32(
                    corner + channel, row, width * row, factors + channel, tap, size * tap, lines, pixels,
                    bias + 4 * three + channel, beside, target + token * target_row + channel,
                )  # fmt: skip
            else:
                window_sum_16(
                    corner + channel, row, width * row, factors + channel, tap, size * tap, lines, pixels,
                    bias + 4 * three + channel, beside, target + token * target_row + channel,
                )  # fmt: skip
