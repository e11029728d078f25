"""Drivers of the sparse kernels, compiled by numba: tokens are packed into panels, steps run over them, unpacked.

A thread works on a few tiles at a time, so that their panels stay in its second-level cache while a step's code stays
in the first. Work is shared as torch shares its own: between `torch.get_num_threads()` threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import torch

from cap.runtime.codegen import TILE, VECTOR, Step
from cap.runtime.vectors import (
    gelu,
    mix,
    run_code,
    run_rows_fourfold,
    run_rows_once,
    scores,
    softmax,
    transpose_in,
    transpose_out,
    transpose_streaming,
)

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, bool], None]

CODE, VALUES, STARTS, COLUMNS, BIAS, ADDS, ROWS, INPUT_TILE, OUTPUT_TILE = map(int, Step)
PANEL_BYTES = 16 * 384 * VECTOR  # of the input, at most, in work by one thread
STREAM_BYTES = 2**24  # outputs as large as this would only push other things out of the caches


def use_torch_threads() -> int:
    """Makes numba use as many threads as torch does; returns how many."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(threads)
    return threads


def num_parts(tokens: int, features: int, threads: int) -> int:
    """Returns the number of runs of tiles that the tokens are split into: a multiple of the threads where possible.

    Args:
        tokens: Number of tokens.
        features: Number of features of a token.
        threads: Number of threads that share the runs.
    """
    tiles = -(-tokens // TILE)
    wanted = -(-tiles * features * VECTOR // PANEL_BYTES)
    return min(tiles, -(-wanted // threads) * threads)


def may_stream(target: torch.Tensor) -> bool:
    """Returns whether an output (tokens, outputs) is so large that it should bypass the caches, and aligned for it."""
    large = target.numel() * 4 >= STREAM_BYTES
    return large and target.data_ptr() % VECTOR == 0 and target.shape[1] % TILE == 0


@numba.njit(parallel=True, cache=True)
def linear(
    source: np.ndarray, target: np.ndarray, steps: np.ndarray, bands: np.ndarray, parts: int, streaming: bool
) -> None:
    """Writes `source @ weight.T + bias`.

    Args:
        source: Input, (tokens, features) float32.
        target: Output, (tokens, outputs) float32.
        steps: Table of steps, as `cap.runtime.codegen.Program` has it.
        bands: Runs of outputs, (n, 4), that are computed together: the first step and the one after the last, the first
            output and the one after the last.
        parts: Number of runs of tiles, which are shared between the threads.
        streaming: Whether outputs go past the caches: they must be aligned to vectors then.
    """
    tokens, features = source.shape
    tiles = (tokens + TILE - 1) // TILE
    for part in numba.prange(parts):
        first, last = tiles * part // parts, tiles * (part + 1) // parts
        inputs = _panels(last - first, features)
        _pack(source, first, last, inputs)
        _project(inputs, target, steps, bands, first, last, streaming)


@numba.njit(parallel=True, cache=True)
def mlp(
    source: np.ndarray, target: np.ndarray, steps: np.ndarray, bands: np.ndarray, parts: int, streaming: bool
) -> None:
    """Writes `GELU(source @ weight1.T + bias1) @ weight2.T + bias2`; the hidden features never leave the caches.

    Args:
        source: Input, (tokens, features) float32.
        target: Output, (tokens, outputs) float32.
        steps: Table of steps, as `cap.runtime.codegen.Program` has it.
        bands: Runs of hidden features, (n, 5): the first step of the first layer, the one after its last, the same of
            the second layer, which adds to the outputs, and the number of hidden features.
        parts: Number of runs of tiles, which are shared between the threads.
        streaming: Whether outputs go past the caches: they must be aligned to vectors then.
    """
    tokens, features = source.shape
    outputs = target.shape[1]
    tiles = (tokens + TILE - 1) // TILE
    widest = bands[:, 4].max()
    for part in numba.prange(parts):
        first, last = tiles * part // parts, tiles * (part + 1) // parts
        inputs = _panels(last - first, features)
        hidden = _panels(last - first, widest)
        sums = _panels(last - first, outputs)
        _pack(source, first, last, inputs)
        for band in range(len(bands)):
            for step in range(bands[band, 0], bands[band, 1]):
                _run(steps[step], inputs, hidden, last - first)
            gelu(hidden.ctypes.data, (last - first) * bands[band, 4])  # type: ignore[call-arg]
            for step in range(bands[band, 2], bands[band, 3]):
                _run(steps[step], hidden, sums, last - first)
        _unpack(sums, target, first, last, 0, outputs, streaming)


@numba.njit(parallel=True, cache=True)
def attention_by_image(
    source: np.ndarray, target: np.ndarray, steps: np.ndarray, heads: np.ndarray, size: int, bands: np.ndarray
) -> None:
    """Writes the self-attention of each image; a thread works on one image at a time.

    Args:
        source: Input, (images, tokens, features) float32.
        target: Output, (images, tokens, outputs) float32.
        steps: Table of steps, as `cap.runtime.codegen.Program` has it.
        heads: Steps of the heads, (num_heads, 2): the first one that computes a head's queries, keys and values, in
            this order and with the scale of the scores in the queries, and the one after the last.
        size: Number of features of a head, a multiple of 16.
        bands: Bands of the output projection, as for `linear`; its inputs are the heads' outputs one after another.
    """
    images, tokens, features = source.shape
    tiles = (tokens + TILE - 1) // TILE
    for image in numba.prange(images):
        inputs = _panels(tiles, features)
        mixed = _panels(tiles, len(heads) * size)
        _pack(source[image], 0, tiles, inputs)
        for head in range(len(heads)):
            _attend(inputs, mixed, steps, heads, head, size, tokens)
        _project(mixed, target[image], steps, bands, 0, tiles, False)


@numba.njit(parallel=True, cache=True)
def attention_by_head(
    source: np.ndarray, target: np.ndarray, steps: np.ndarray, heads: np.ndarray, size: int, bands: np.ndarray,
    parts: int,
) -> None:  # fmt: skip
    """Does what `attention_by_image` does, one image at a time: threads share its heads and its tiles in `parts`."""
    images, tokens, features = source.shape
    tiles = (tokens + TILE - 1) // TILE
    parts = min(parts, tiles)  # a step must not be run over no tiles
    width = len(heads) * size
    inputs = _panels(tiles, features)
    mixed = _panels(tiles, width)
    for image in range(images):
        for part in numba.prange(parts):
            first, last = tiles * part // parts, tiles * (part + 1) // parts
            _pack(source[image], first, last, inputs[first * features * TILE :])
        for head in numba.prange(len(heads)):
            _attend(inputs, mixed, steps, heads, head, size, tokens)
        for part in numba.prange(parts):
            first, last = tiles * part // parts, tiles * (part + 1) // parts
            _project(mixed[first * width * TILE :], target[image], steps, bands, first, last, False)


@numba.njit
def _attend(
    inputs: np.ndarray, mixed: np.ndarray, steps: np.ndarray, heads: np.ndarray, head: int, size: int, tokens: int
) -> None:
    """Writes the output of one head to its place in the panels (tiles, heads * size, 16)."""
    tiles = (tokens + TILE - 1) // TILE
    panel = size * VECTOR
    projected = _panels(tiles, 3 * size)
    weights = _panels(tiles + 1, TILE)
    for step in range(heads[head, 0], heads[head, 1]):
        _run(steps[step], inputs, projected, tiles)
    values = projected.ctypes.data + 2 * panel
    scale = weights.ctypes.data + tiles * TILE * VECTOR
    for tile in range(tiles):
        queries = projected.ctypes.data + 3 * panel * tile
        for other in range(tiles):
            keys = projected.ctypes.data + 3 * panel * other + panel
            scores(keys, queries, weights.ctypes.data + other * TILE * VECTOR, size)  # type: ignore[call-arg]
        softmax(weights.ctypes.data, tokens, scale)  # type: ignore[call-arg]
        out = mixed.ctypes.data + (tile * len(heads) + head) * panel
        for feature in range(0, panel, TILE * VECTOR):
            mix(values + feature, 3 * panel, weights.ctypes.data, tokens, scale, out + feature)


@numba.njit
def _project(
    inputs: np.ndarray, target: np.ndarray, steps: np.ndarray, bands: np.ndarray, first: int, last: int,
    streaming: bool,
) -> None:  # fmt: skip
    """Multiplies the panels of the tiles from `first` to before `last`, and unpacks the products."""
    outputs = _panels(last - first, (bands[:, 3] - bands[:, 2]).max())
    for band in range(len(bands)):
        for step in range(bands[band, 0], bands[band, 1]):
            _run(steps[step], inputs, outputs, last - first)
        _unpack(outputs, target, first, last, bands[band, 2], bands[band, 3], streaming)


@numba.njit
def _panels(tiles: int, features: int) -> np.ndarray:
    """Returns room for panels, aligned to vectors."""
    room = np.empty((tiles * features + 1) * TILE, np.float32)
    start = -room.ctypes.data % VECTOR // 4
    return room[start : start + tiles * features * TILE]


@numba.njit
def _pack(source: np.ndarray, first: int, last: int, panels: np.ndarray) -> None:
    """Copies the tiles from `first` to before `last` of (tokens, features) into panels; absent tokens are zeros."""
    tokens, features = source.shape
    whole = features // TILE * TILE
    for tile in range(first, last):
        token = tile * TILE
        start = (tile - first) * features * TILE
        present = min(TILE, tokens - token)
        done = 0
        if present == TILE:
            done = whole
            for feature in range(0, whole, TILE):
                transpose_in(
                    source.ctypes.data + (token * features + feature) * 4, features * 4,
                    panels.ctypes.data + start * 4 + feature * VECTOR, VECTOR,
                )  # fmt: skip
        for feature in range(done, features):
            place = start + feature * TILE
            for i in range(present):
                panels[place + i] = source[token + i, feature]
            panels[place + present : place + TILE] = 0


@numba.njit
def _unpack(
    panels: np.ndarray, target: np.ndarray, first: int, last: int, start: int, stop: int, streaming: bool
) -> None:
    """Copies panels of the features from `start` to before `stop` to the tiles of (tokens, all features)."""
    tokens, features = target.shape
    width = stop - start
    whole = width // TILE * TILE
    for tile in range(first, last):
        token = tile * TILE
        place = (tile - first) * width * TILE
        present = min(TILE, tokens - token)
        done = 0
        if present == TILE:
            done = whole
            for feature in range(0, whole, TILE):
                panel = panels.ctypes.data + place * 4 + feature * VECTOR
                out = target.ctypes.data + (token * features + start + feature) * 4
                if streaming:
                    transpose_streaming(panel, VECTOR, out, features * 4)
                else:
                    transpose_out(panel, VECTOR, out, features * 4)
        for i in range(present):
            for feature in range(done, width):
                target[token + i, start + feature] = panels[place + feature * TILE + i]


@numba.njit
def _run(step: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, tiles: int) -> None:
    """Runs a step over consecutive tiles of panels, at least one."""
    source, target = inputs.ctypes.data, outputs.ctypes.data
    if step[CODE]:
        run_code(step[CODE], source, target, step[VALUES], tiles)  # type: ignore[call-arg]
        return
    fourfold = tiles // 4 * 4
    for tile in range(0, fourfold, 4):
        run_rows_fourfold(
            step[VALUES], step[STARTS], step[COLUMNS], step[BIAS], step[ADDS], step[ROWS],
            source + tile * step[INPUT_TILE], step[INPUT_TILE], target + tile * step[OUTPUT_TILE], step[OUTPUT_TILE],
        )  # fmt: skip
    for tile in range(fourfold, tiles):
        run_rows_once(
            step[VALUES], step[STARTS], step[COLUMNS], step[BIAS], step[ADDS], step[ROWS],
            source + tile * step[INPUT_TILE], step[INPUT_TILE], target + tile * step[OUTPUT_TILE], step[OUTPUT_TILE],
        )  # fmt: skip
