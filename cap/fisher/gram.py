"""Sums of outer products of gradients on diagonal blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from cap import distributed
from cap.kernels import for_device


def buffered_gradients(block_size: int, num_gradients: int | None) -> int:
    """Returns how many gradients a Gram matrix gathers before it adds them up: all, if they take less than it does."""
    if num_gradients is not None and num_gradients < block_size:
        return num_gradients
    several = min(128, max(32, 4 * block_size))
    return several if num_gradients is not None else max(several, block_size)


def gram_bytes(block_size: int, num_gradients: int, itemsize: int) -> int:
    """Returns the bytes that accumulating a Gram matrix takes per weight: see `Gram`."""
    gathered = itemsize * buffered_gradients(block_size, num_gradients)
    return gathered + (8 * block_size if num_gradients >= block_size else 0)


class Gram:
    """Sum `sum_i g_i g_i^T` on diagonal blocks of consecutive weights.

    Gradients are gathered and added up many at a time. As long as they are fewer than B they are kept themselves: they
    take less memory than the sum. Rounding errors of single precision, relative to the largest eigenvalue, would drown
    a dampening of 1e-8, so the sum is in double precision unless told otherwise.

    Args:
        num_weights: Number of weights.
        block_size: B, number of weights in a block. If it does not divide `num_weights`, the last block is padded with
            inert entries.
        device: Device of the sums.
        dtype: Precision of the sums: float64, or float32 for half the memory.
        expected: Number of gradients that there will be, if known.
        gathered: Precision of the gradients before they are added up: float32, or float64 if they come so.

    Attributes:
        capacity: Number of gradients that `slots` has room for at once.
    """

    def __init__(
        self,
        num_weights: int,
        block_size: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        expected: int | None = None,
        gathered: torch.dtype = torch.float32,
    ) -> None:
        self.gathered = gathered
        self.num_weights, self.block_size = num_weights, block_size
        self.num_blocks = -(-num_weights // block_size)
        self.count = 0  # gradients so far
        self.capacity = buffered_gradients(block_size, expected)
        self._keeps_all = expected is not None and expected <= self.capacity
        self._like = torch.empty(0, dtype=dtype, device=device)
        self._gathered: Tensor | None = None  # (capacity, num_blocks * B)
        self._num_gathered = 0
        self._sum: Tensor | None = None  # (num_blocks, B, B), lower triangles

    def slots(self, n: int) -> Tensor:
        """Returns room for the next n gradients, (n, num_weights), to be filled before anything else is asked for.

        Raises:
            ValueError: If n is larger than `capacity`.
        """
        if n > self.capacity:
            raise ValueError(f"{n} gradients at once: at most {self.capacity}")
        if self._num_gathered + n > self.capacity:
            self._add_up()
        if self._gathered is None:
            width = self.num_blocks * self.block_size
            self._gathered = torch.zeros(self.capacity, width, dtype=self.gathered, device=self._like.device)
        start, self._num_gathered = self._num_gathered, self._num_gathered + n
        self.count += n
        return self._gathered[start : start + n, : self.num_weights]

    def skip(self, n: int) -> None:
        """Counts n gradients that another process has: see `join`."""
        if self._keeps_all:
            self.slots(n)  # zeros until then
        else:
            self.count += n

    def join(self) -> None:
        """Adds up what the processes have, each of which has skipped the gradients of the others."""
        if self._keeps_all:
            assert self._gathered is not None
            distributed.all_reduce_sum(self._gathered)
            return
        self._add_up()
        if self._sum is None:
            self._sum = self._like.new_zeros(self.num_blocks, self.block_size, self.block_size)
        distributed.all_reduce_sum(self._sum)

    def finish(self) -> None:
        """Frees what is needed for adding gradients alone."""
        if self._sum is not None:
            self._add_up()
            self._gathered = None

    def _add_up(self) -> None:
        if self._num_gathered and self._gathered is not None:
            if self._sum is None:
                self._sum = self._like.new_zeros(self.num_blocks, self.block_size, self.block_size)
            for_device(self._sum.device).add_gram(self._sum, self._gathered[: self._num_gathered])
            self._num_gathered = 0

    def gradients(self, part: slice) -> Tensor | None:
        """Returns all gradients of a range of blocks, (blocks, m, B), float64; None if only their sum is known."""
        if self._sum is not None or self._gathered is None:
            return None
        columns = slice(part.start * self.block_size, part.stop * self.block_size)
        rows = self._gathered[: self.count, columns].double()
        return rows.view(self.count, -1, self.block_size).transpose(0, 1)

    def trace(self) -> float:
        """Returns the sum of the squares of all gradients so far."""
        if self._sum is None and self._gathered is not None:
            return float(torch.linalg.vector_norm(self._gathered[: self.count], dtype=torch.float64)) ** 2
        self._add_up()
        assert self._sum is not None
        return float(self._sum.diagonal(dim1=1, dim2=2).sum(dtype=torch.float64))

    def fisher(self, part: slice, damp: float, out: Tensor | None = None) -> Tensor:
        """Returns `damp * I + (1/m) sum_i g_i g_i^T` for a range of blocks.

        Args:
            part: Range of blocks.
            damp: Dampening.
            out: Room for the result.

        Returns:
            (blocks, B, B), float64.
        """
        size = self.block_size
        shape = (part.stop - part.start, size, size)
        if out is None:
            out = torch.empty(shape, dtype=torch.float64, device=self._like.device)
        kernels = for_device(out.device)
        if self._sum is None and self._gathered is not None:
            kernels.add_gram(out.zero_(), self._gathered[: self.count, part.start * size : part.stop * size])
            kernels.damped_mean(out, self.count, damp, out)
        else:
            self._add_up()
            assert self._sum is not None
            kernels.damped_mean(self._sum[part], self.count, damp, out)
        return out
