"""The inverse Fisher blocks of a layer as triangular factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cap.kernels import batched, for_device, solves_for


@dataclass(frozen=True)
class InverseFactor:
    """The inverse Fisher blocks of one layer as triangular factors in single precision: a quarter of their memory.

    With P the permutation that brings the block's entry `order[t]` to place t, `P F^-1 P^T = M^T M` with M lower
    triangular. A rounding error of M is one of the inverse's square root, so the inverse stays positive definite.

    Attributes:
        order: Entry at each place, (num_blocks, B), int16.
        packed: Rows of M up to the diagonal, (num_blocks, B * (B + 1) / 2), float32.
        coefficients: c with `M^T c = P w`, (num_blocks, B), float64: w less the last k of the terms `c_t M[t]` is the
            joint OBS update that removes the last k places.
        padding: Number of inert entries at the end of the last block.
    """

    order: Tensor
    packed: Tensor
    coefficients: Tensor
    padding: int = 0

    @classmethod
    def empty(cls, num_weights: int, block_size: int, device: torch.device | str = "cpu") -> InverseFactor:
        """Makes room for the factors of a layer."""
        num_blocks = -(-num_weights // block_size)
        return cls(
            torch.empty(num_blocks, block_size, dtype=torch.int16, device=device),
            torch.empty(num_blocks, block_size * (block_size + 1) // 2, device=device),
            torch.empty(num_blocks, block_size, dtype=torch.float64, device=device),
            num_blocks * block_size - num_weights,
        )

    @classmethod
    def of_order(cls, num_weights: int, block_size: int, device: torch.device | str = "cpu") -> InverseFactor:
        """Makes room for the order alone: what else there is must be made again from F, part by part."""
        num_blocks = -(-num_weights // block_size)
        return cls(
            torch.empty(num_blocks, block_size, dtype=torch.int16, device=device),
            torch.empty(0, block_size * (block_size + 1) // 2, device=device),
            torch.empty(0, block_size, dtype=torch.float64, device=device),
            num_blocks * block_size - num_weights,
        )

    def room_for(self, part: slice) -> InverseFactor:
        """Makes room for the factors of a range of blocks, apart from these."""
        num_blocks, size = part.stop - part.start, self.order.shape[1]
        padding = self.padding if part.stop == len(self.order) else 0
        return InverseFactor.empty(num_blocks * size - padding, size, self.order.device)

    @property
    def everything(self) -> slice:
        """Range of all blocks."""
        return slice(0, len(self.order))

    @staticmethod
    def bytes_per_weight(block_size: int) -> float:
        """Memory of the factors."""
        return 2 * (block_size + 1) + 2 + 8

    def fill(self, part: slice, fisher: Tensor, weight: Tensor, order: Tensor | None = None) -> Tensor:
        """Factors a range of blocks.

        Args:
            part: Range of blocks.
            fisher: F, (blocks, B, B), float64.
            weight: w, (blocks, B).
            order: Entry at each place, (blocks, B), int64; by default each entry at its own place.

        Returns:
            (blocks,), True for blocks that are not positive definite.
        """
        if order is None:
            order = torch.arange(weight.shape[1], device=weight.device).repeat(len(weight), 1)
        self.order[part] = order.to(torch.int16)
        kernels = for_device(fisher.device)
        return kernels.factor_blocks(fisher, order, weight, self.packed[part], self.coefficients[part])

    def inverse(self, part: slice) -> Tensor:
        """Returns F^-1 of a range of blocks: (blocks, B, B), float64."""
        lower = batched.unpack(self.packed[part], self.order.shape[1])
        place = self.order[part].long().argsort(1)
        return torch.bmm(lower.transpose(1, 2), lower).gather(1, place[:, :, None].expand_as(lower)).gather(
            2, place[:, None, :].expand_as(lower)
        )  # fmt: skip

    def diagonal(self, part: slice) -> Tensor:
        """Returns the diagonals of F^-1: (blocks, B), float64."""
        size = self.order.shape[1]
        at_places = for_device(self.packed.device).inverse_diagonal(self.packed[part], size)
        return torch.empty_like(at_places).scatter_(1, self.order[part].long(), at_places)

    def times(self, vector: Tensor, part: slice) -> Tensor:
        """Returns F^-1 v for v (blocks, B), float64."""
        order = self.order[part].long()
        product = for_device(vector.device).multiply_inverse(self.packed[part], vector.gather(1, order))
        return torch.empty_like(product).scatter_(1, order, product)

    def fisher_times(self, vector: Tensor, part: slice) -> Tensor:
        """Returns F v for v (blocks, B), float64: `P F P^T = M^-1 M^-T`."""
        order = self.order[part].long()
        kernels = solves_for(vector.device)
        half = kernels.solve_upper(self.packed[part], vector.gather(1, order))
        product = kernels.solve_lower(self.packed[part], half)
        return torch.empty_like(product).scatter_(1, order, product)

    def quadratic_form(self, vector: Tensor, part: slice) -> Tensor:
        """Returns `v^T F v` for v (blocks, B), float64: (blocks,)."""
        permuted = vector.gather(1, self.order[part].long())
        return solves_for(vector.device).solve_upper(self.packed[part], permuted).square().sum(1)

    def joint_update(self, weight: Tensor, keep: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Returns the weights after the joint OBS update that removes any set of them.

        Args:
            weight: Weights, (blocks, B), float64.
            keep: Keep-mask, (blocks, B).
            part: Range of blocks.

        Returns:
            (blocks, B), float64, exactly zero outside `keep`; and (blocks,), True for blocks that are not positive
            definite.
        """
        order = self.order[part].long()
        permuted, failed = solves_for(weight.device).joint_update(
            self.packed[part], weight.gather(1, order), keep.gather(1, order)
        )
        return torch.empty_like(permuted).scatter_(1, order, permuted), failed

    def without_last(self, weight: Tensor, counts: Tensor) -> Tensor:
        """Returns the weights after the joint OBS update that removes each block's last places.

        Args:
            weight: Weights that the factors were made with, (num_blocks, B).
            counts: Number of places, (num_blocks,), int64.

        Returns:
            (num_blocks, B), float64; what was removed is not exactly zero.
        """
        order = self.order.long()
        kernels = for_device(weight.device)
        permuted = kernels.subtract_last_rows(weight.gather(1, order), self.packed, self.coefficients, counts)
        return torch.empty_like(permuted).scatter_(1, order, permuted)
