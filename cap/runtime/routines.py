"""Routines: operations of the driver in phases, which run one after another on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cap.runtime.codegen import TILE, VECTOR
from cap.runtime.driver import FIELDS, Header, Operation, driver
from cap.runtime.program import Program
from cap.runtime.threads import run_on_threads

PANEL_BYTES = 16 * 384 * VECTOR  # of the input, at most, in work by one thread
STREAM_BYTES = 2**24  # outputs as large as this would only push other things out of the caches
_STREAMING = 6  # field of the operation UNPACK

Entry = tuple[int, ...]


@dataclass(frozen=True)
class Room:
    """A buffer.

    Attributes:
        per_tile: Vectors for each tile of a part.
        fixed: Vectors beside.
        shared: Whether all threads have one, with all tiles, instead of each its own.
    """

    per_tile: int
    fixed: int = 0
    shared: bool = False


class Phase:
    """Operations on the parts of a call.

    Args:
        operations: Kind and values of each operation.
        separate: Number of operations of a part, if the parts run different ones on all tiles; 0 if all run all.
    """

    def __init__(self, operations: Sequence[Entry], separate: int = 0) -> None:
        padded = [[*operation, *[0] * (FIELDS - len(operation))] for operation in operations]
        self.operations, self.separate = np.array(padded, np.int64), separate
        self.streaming = self.operations.copy()
        self.streaming[self.operations[:, 0] == Operation.UNPACK, _STREAMING] = 1


def num_runs(tokens: int, features: int, threads: int) -> int:
    """Returns the number of runs of tiles that the tokens are split into: a multiple of the threads where possible.

    Args:
        tokens: Number of tokens.
        features: Number of features of a token.
        threads: Number of threads that share the runs.
    """
    tiles = -(-tokens // TILE)
    wanted = -(-tiles * features * VECTOR // PANEL_BYTES)
    return min(tiles, -(-wanted // threads) * threads)


def may_stream(target: Tensor) -> bool:
    """Returns whether an output (..., features) is so large that it should bypass the caches, and aligned for it."""
    large = target.numel() * 4 >= STREAM_BYTES
    return large and target.data_ptr() % VECTOR == 0 and target.shape[-1] % TILE == 0


def run(
    phases: Sequence[Phase], program: Program, rooms: Sequence[Room], matrices: Sequence[Tensor], images: int,
    tokens: int, runs: int, streaming: bool = False,
) -> None:  # fmt: skip
    """Runs phases.

    Args:
        phases: Phases.
        program: Steps that they multiply with.
        rooms: Their buffers, which hold from phase to phase if they are shared.
        matrices: Their matrices, contiguous float32, (images * tokens, features) or the like.
        images: Number of images; 1 where tokens are shared or the parts differ.
        tokens: Number of tokens of an image, at least 1.
        runs: Number of runs that the tiles of an image are split into.
        streaming: Whether outputs go past the caches: they must be aligned to vectors then.
    """
    threads, tiles = torch.get_num_threads(), -(-tokens // TILE)
    longest = tiles if any(phase.separate for phase in phases) else -(-tiles // runs)
    vectors = [room.fixed + room.per_tile * (tiles if room.shared else longest) for room in rooms]
    sizes = [size if room.shared else threads * size for size, room in zip(vectors, rooms, strict=True)]
    memory = torch.empty((sum(sizes) + 1) * TILE)
    at = -(-memory.data_ptr() // VECTOR) * VECTOR
    entries: list[int] = []
    for room, size, total in zip(rooms, vectors, sizes, strict=True):
        entries += (at, 0, room.per_tile * VECTOR) if room.shared else (at, size * VECTOR, 0)
        at += total * VECTOR
    for matrix in matrices:
        row = 4 * matrix.shape[-1]
        entries += (matrix.data_ptr(), row, row * tokens)
    table = np.array([0] * len(Header) + entries, np.int64)
    start = table.ctypes.data
    buffers = start + 8 * len(Header)
    for phase in phases:
        operations = phase.streaming if streaming else phase.operations
        count = phase.separate or len(operations)
        parts = len(operations) // count if phase.separate else images * runs
        table[: len(Header)] = (
            0, 0, parts, runs, tokens, operations.ctypes.data, count, phase.separate > 0, program.steps.ctypes.data,
            buffers, buffers + 24 * len(rooms),
        )  # fmt: skip
        run_on_threads(driver().address, start, min(threads, parts))
