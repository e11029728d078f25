"""Operations of a transformer's parts for the driver: linear layers, attention, MLPs, with norms and residuals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cap.runtime.codegen import TILE, Assembler, even_parts
from cap.runtime.driver import Operation
from cap.runtime.int8 import vectors_of
from cap.runtime.program import Program
from cap.runtime.routines import Entry, Phase, Room, may_stream, num_runs, run

Arrays = tuple[np.ndarray, np.ndarray]  # weight and bias
BAND = 192  # features computed together before they are unpacked, or multiplied on


class Constants:
    """Arrays that operations point to."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def add(self, values: np.ndarray | float) -> int:
        """Returns the address of a copy in float32."""
        self._arrays.append(np.array(values, np.float32))
        return self._arrays[-1].ctypes.data

    def __deepcopy__(self, memo: object) -> Constants:
        return self  # copies of an operation point to the same


class FeedForward:
    """Operations of two matrices with GELU between them; the hidden features never leave the caches.

    Args:
        assembler: Maker of the program.
        first: Weight and bias of the layer from the features to the hidden ones.
        second: Weight and bias of the layer from the hidden features to the outputs.
        epsilon: Address of the epsilon of a layer norm without weights before it; 0 for none.
        residual: Number of the matrix that is added to the outputs: 0 for the inputs, 2 for a third, -1 for none.
    """

    def __init__(
        self, assembler: Assembler, first: Arrays, second: Arrays, epsilon: int = 0, residual: int = -1
    ) -> None:
        hidden, self._features = first[0].shape
        outputs = len(second[0])
        entries: list[Entry] = [(Operation.PACK, 0, 0, self._features)]
        if epsilon:
            entries.append((Operation.NORMALIZE, 0, self._features, epsilon))
        inputs, quantization = quantized(assembler, 0, self._features, 3)
        entries += quantization
        for start, stop in even_parts(hidden, BAND):
            steps1 = assembler.multiply(first[0][start:stop], first[1][start:stop])
            steps2 = assembler.multiply(second[0][:, start:stop], None if start else second[1])
            entries.append((Operation.MULTIPLY, inputs, 1, *steps1))
            entries.append((Operation.GELU, 1, stop - start))
            band, quantization = quantized(assembler, 1, stop - start, 4)
            entries += [*quantization, (Operation.MULTIPLY, band, 2, *steps2)]
        entries.append((Operation.UNPACK, 2, 1, outputs, 0, residual))
        self._phases = [Phase(entries)]
        widths = self._features, min(BAND, hidden)
        self._rooms = (*map(Room, (*widths, outputs)), *word_rooms(assembler, *widths))

    def run(self, program: Program, *matrices: Tensor) -> None:
        """Takes the first matrix, (tokens, features), and writes the outputs to the second; none is empty."""
        tokens = matrices[0].numel() // self._features
        runs = num_runs(tokens, self._features, torch.get_num_threads())
        run(self._phases, program, self._rooms, matrices, 1, tokens, runs, may_stream(matrices[1]))


class Attention:
    """Operations of attention, from the inputs to the outputs, which may be added to the inputs.

    Args:
        assembler: Maker of the program.
        qkv: Weight and bias of the projection to the queries of all heads, their keys and their values.
        proj: Weight and bias of the projection of the heads' outputs.
        num_heads: Number of heads; their size is a multiple of 16.
        temperatures: Address of the temperatures of cross-covariance attention, one a head; 0 for self-attention.
        epsilon: Address of the epsilon of a layer norm without weights before it; 0 for none.
        residual: Whether the inputs are added to the outputs.
    """

    def __init__(
        self, assembler: Assembler, qkv: Arrays, proj: Arrays, num_heads: int,
        temperatures: int = 0, epsilon: int = 0, residual: bool = False,
    ) -> None:  # fmt: skip
        features = qkv[0].shape[1]
        size = proj[0].shape[1] // num_heads
        scale = np.ones((3, num_heads, size), np.float32)
        if not temperatures:
            scale[0] = size**-0.5
        weight = qkv[0].reshape(*scale.shape, -1) * scale[..., None]
        bias = qkv[1].reshape(scale.shape) * scale
        pack: list[Entry] = [(Operation.PACK, 0, 0, features)]
        if epsilon:
            pack.append((Operation.NORMALIZE, 0, features, epsilon))
        inputs, quantization = quantized(assembler, 0, features, 5)
        pack += quantization
        heads: list[Entry] = []
        for head in range(num_heads):
            steps = assembler.multiply(weight[:, head].reshape(3 * size, -1), bias[:, head].reshape(-1))
            heads.append((Operation.MULTIPLY, inputs, 1, *steps))
            if not temperatures:
                heads.append((Operation.ATTEND, 1, 2, 3, head, num_heads, size))
            else:
                temperature = temperatures + 4 * head
                heads.append((Operation.CROSS_ATTEND, 1, 2, 3, head, num_heads, size, temperature))
        outputs, quantization = quantized(assembler, 2, num_heads * size, 6)
        project = [*quantization, *row_bands(assembler, *proj, outputs, 4, 1, 0 if residual else -1)]
        self._by_image = [Phase([*pack, *heads, *project])]
        self._by_head = [Phase(pack), Phase(heads, separate=2), Phase(project)]
        room = Room(TILE, TILE) if not temperatures else Room(3 * size, size + TILE + 1 + 3 * size // TILE)
        own = (Room(3 * size), room, Room(min(BAND, len(proj[0]))))
        self._rooms = tuple(
            (
                Room(features, shared=shared),
                own[0],
                Room(num_heads * size, shared=shared),
                *own[1:],
                *word_rooms(assembler, features, num_heads * size, shared=shared),
            )
            for shared in (False, True)
        )

    def run(self, program: Program, x: Tensor, y: Tensor) -> None:
        """Writes the attention of `x`, (images, tokens, features), to `y`; neither is empty."""
        threads = torch.get_num_threads()
        if len(x) % threads == 0:
            run(self._by_image, program, self._rooms[False], (x, y), len(x), x.shape[1], 1)
            return
        runs = min(threads, -(-x.shape[1] // TILE))
        for image, target in zip(x, y, strict=True):
            run(self._by_head, program, self._rooms[True], (image, target), 1, len(image), runs)


def row_bands(
    assembler: Assembler,
    weight: np.ndarray,
    bias: np.ndarray,
    source: int,
    room: int,
    target: int,
    residual: int = -1,
    activation: Entry | None = None,
) -> list[Entry]:
    """Returns the operations that multiply a buffer with a matrix and unpack the products, two or three a run of rows.

    Args:
        assembler: Maker of the program.
        weight: The matrix, (rows, columns).
        bias: Its biases.
        source: Number of the buffer.
        room: Number of the buffer for the products of a run.
        target: Number of the matrix that they are unpacked to.
        residual: Number of the matrix that is added, or -1.
        activation: Operation on the buffer of products before they are unpacked: its third value is their number.
    """
    bands: list[Entry] = []
    for start, stop in even_parts(len(weight), BAND):
        bands.append((Operation.MULTIPLY, source, room, *assembler.multiply(weight[start:stop], bias[start:stop])))
        if activation is not None:
            bands.append((*activation[:2], stop - start, *activation[3:]))
        bands.append((Operation.UNPACK, room, target, stop - start, start, residual))
    return bands


def quantized(assembler: Assembler, source: int, features: int, room: int) -> tuple[int, list[Entry]]:
    """Returns the number of the buffer to multiply from, and the operation that fills it; none for floats.

    Args:
        assembler: Maker of the program.
        source: Number of the buffer of floats.
        features: Number of its features.
        room: Number of the buffer for integers.
    """
    if not assembler.int8:
        return source, []
    return room, [(Operation.QUANTIZE, source, features, room)]


def word_rooms(assembler: Assembler, *features: int, shared: bool = False) -> tuple[Room, ...]:
    """Returns buffers for integers of so many features each; none where floats are multiplied."""
    return tuple(Room(vectors_of(one), shared=shared) for one in features) if assembler.int8 else ()


def arrays(layer: nn.Linear | nn.Conv2d) -> Arrays:
    """Returns weight, (outputs, inputs), and bias, zeros if there is none."""
    weight = layer.weight.detach().flatten(1).numpy()
    return weight, np.zeros(len(weight), np.float32) if layer.bias is None else layer.bias.detach().numpy()


def after_norm(arrays: Arrays, norm: nn.LayerNorm) -> Arrays:
    """Returns a layer that does with the norm's result without weights what the layer does with the norm's."""
    weight, bias = arrays
    if norm.weight is None:
        return arrays
    shift = np.zeros(weight.shape[1], np.float32) if norm.bias is None else norm.bias.detach().numpy()
    return weight * norm.weight.detach().numpy(), bias + weight @ shift


def scaled(arrays: Arrays, scale: Tensor | None) -> Arrays:
    """Returns a layer that scales its outputs."""
    if scale is None:
        return arrays
    factors = scale.detach().numpy()
    return arrays[0] * factors[:, None], arrays[1] * factors
