"""Attention of one head over the tokens of an image, compiled by numba as part of the driver."""

from __future__ import annotations

import numba

from cap.runtime.codegen import TILE, VECTOR
from cap.runtime.panels import inverse_norms, pack_tile, scale_matrix, unpack_tile
from cap.runtime.vectors import mix, scores, softmax


@numba.njit(error_model="numpy")
def attend(projected: int, mixed: int, room: int, head: int, heads: int, size: int, tokens: int) -> None:
    """Writes the self-attention of one head to its place in the panels (tiles, heads * size, 16).

    `projected` has its queries, keys and values, (tiles, 3 * size, 16); `room` is for (tiles + 1) * 16 vectors.
    """
    tiles = (tokens + TILE - 1) // TILE
    panel = size * VECTOR
    scale = room + tiles * TILE * VECTOR
    for tile in range(tiles):
        queries = projected + 3 * panel * tile
        for other in range(tiles):
            scores(projected + 3 * panel * other + panel, queries, room + other * TILE * VECTOR, size)
        softmax(room, tokens, scale)
        out = mixed + (tile * heads + head) * panel
        for feature in range(0, panel, TILE * VECTOR):
            mix(projected + 2 * panel + feature, 3 * panel, room, tokens, scale, out + feature)


@numba.njit(error_model="numpy")
def cross_attend(
    projected: int, mixed: int, room: int, head: int, heads: int, size: int, temperature: int, tokens: int
) -> None:
    """Does what `attend` does with the cross-covariance attention of arXiv 2106.09681, section 3.2.

    `room` is for 3 * size * tiles + size + 16 + 1 + 3 * size / 16 vectors.
    """
    tiles = (tokens + TILE - 1) // TILE
    blocks = size // TILE
    column = tiles * TILE * VECTOR  # 16 features of all tokens, token by token
    weights = room + 3 * blocks * column
    square = weights + size * VECTOR
    scale = square + TILE * VECTOR
    norms = scale + VECTOR
    for block in range(3 * blocks):
        for tile in range(tiles):
            panel = projected + (3 * size * tile + block * TILE) * VECTOR
            unpack_tile(panel, room + block * column + tile * TILE * VECTOR, VECTOR, TILE, 0, 0)
        if block < 2 * blocks:
            inverse_norms(room + block * column, tokens, norms + block * VECTOR)
    for block in range(blocks):
        for other in range(blocks):
            keys = room + (blocks + other) * column
            scores(keys, room + block * column, weights + other * TILE * VECTOR, tokens)
        scale_matrix(weights, size, norms + blocks * VECTOR, norms + block * VECTOR, temperature)
        softmax(weights, size, scale)
        for tile in range(tiles):
            mix(room + 2 * blocks * column + tile * TILE * VECTOR, column, weights, size, scale, square)
            out = mixed + ((tile * heads + head) * size + block * TILE) * VECTOR
            pack_tile(square, VECTOR, TILE, out)
