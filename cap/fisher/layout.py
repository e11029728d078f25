"""Blocks of the weights that are left, within layers or across them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """Part of a block that belongs to one layer.

    Attributes:
        block: Number of the block.
        offset: Place of the part's first weight in the block.
        start: Number of that weight among the layer's weights that are not zero.
        stop: Number after that of the last one.
    """

    block: int
    offset: int
    start: int
    stop: int


class BlockLayout:
    """Blocks of B consecutive weights, those that are zero left out; the last block of a vector may be smaller.

    Args:
        layers: Weights, {name: weight}.
        block_size: B, number of weights in a block.
        span_layers: Whether blocks are cut from the vector of all layers, one after the other, or from each layer's.

    Attributes:
        present: Positions of the weights that are not zero, {name: (n,), int64}; None for all.
        pieces: Parts of blocks, {name: parts in order}.
        sizes: Number of weights in each block.
    """

    def __init__(self, layers: Mapping[str, Tensor], block_size: int, span_layers: bool) -> None:
        self.present: dict[str, Tensor | None] = {}
        self.pieces: dict[str, list[Piece]] = {}
        self.sizes: list[int] = []
        room = 0  # in the last block
        for name, weight in layers.items():
            there = weight.flatten() != 0
            self.present[name] = None if there.all() else there.nonzero().flatten()
            self.pieces[name] = []
            count, done = int(there.sum()), 0
            if not span_layers:
                room = 0
            while done < count:
                if not room:
                    self.sizes.append(0)
                    room = block_size
                step = min(room, count - done)
                self.pieces[name].append(Piece(len(self.sizes) - 1, self.sizes[-1], done, done + step))
                self.sizes[-1] += step
                room, done = room - step, done + step

    def layers_of(self, block: int) -> list[str]:
        """Returns the names of the layers that have weights in a block."""
        return [name for name, pieces in self.pieces.items() if any(piece.block == block for piece in pieces)]

    def write(self, name: str, values: Tensor, blocks: Sequence[Tensor], rows: slice) -> None:
        """Writes rows of a layer's values into the blocks.

        Args:
            name: Name of the layer.
            values: Values, (n, weights of the layer).
            blocks: Room, (rows, weights of the block) each.
            rows: Rows to be written, n of them.
        """
        present = self.present[name]
        there = values if present is None else values[:, present]
        for piece in self.pieces[name]:
            columns = slice(piece.offset, piece.offset + piece.stop - piece.start)
            blocks[piece.block][rows, columns] = there[:, piece.start : piece.stop]

    def split(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns values of all weights block by block, (weights of the block,) each, float64."""
        blocks = [next(iter(values.values())).new_empty(1, size, dtype=torch.float64) for size in self.sizes]
        for name, value in values.items():
            self.write(name, value.reshape(1, -1), blocks, slice(0, 1))
        return [block[0] for block in blocks]

    def merge(self, blocks: Sequence[Tensor], like: Mapping[str, Tensor], fill: float) -> dict[str, Tensor]:
        """Undoes `split`.

        Args:
            blocks: Values, (weights of the block,) each, float64.
            like: Weights, {name: weight}, whose shapes the result has.
            fill: Value of the weights that are in no block.
        """
        merged = {}
        for name, weight in like.items():
            parts = [blocks[p.block][p.offset : p.offset + p.stop - p.start] for p in self.pieces[name]]
            there = torch.cat(parts) if parts else weight.new_empty(0, dtype=torch.float64)
            if (present := self.present[name]) is not None:
                there = weight.new_full((weight.numel(),), fill, dtype=torch.float64).index_copy_(0, present, there)
            merged[name] = there.view_as(weight)
        return merged
