"""The dampened block-diagonal empirical Fisher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cap.calibration import Calibration

CHUNK_BYTES = 2**26  # scratch of the inversion


def as_blocks(tensor: Tensor, block_size: int) -> Tensor:
    """Cuts a weight into blocks of consecutive entries of its row-major order, the last one padded with zeros.

    Args:
        tensor: Any shape.
        block_size: B.

    Returns:
        (num_blocks, B). A padded entry has weight 0 and gradient 0, so it changes nothing and costs nothing to remove.
    """
    flat = tensor.reshape(-1)
    return F.pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)


def from_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """Undoes `as_blocks`: (num_blocks, B) to the shape of `like`."""
    return blocks.reshape(-1)[: like.numel()].view(like.shape)


class BlockFisher:
    """Accumulates `F = damp * I + (1/m) * sum_i g_i g_i^T` on diagonal blocks of consecutive weights.

    Kuznedelev et al., 2023, section 3 (arXiv 2210.09223). The sum and its inverse are in double precision: rounding
    errors of single precision, relative to the largest eigenvalue, would drown a dampening of 1e-8.

    Args:
        num_weights: Number of weights of the layer.
        block_size: B. If it does not divide `num_weights`, the last block is padded with inert entries.
        damp: Dampening, larger than 0.
        device: Where the blocks live.
    """

    def __init__(self, num_weights: int, block_size: int, damp: float, device: torch.device | str = "cpu") -> None:
        if num_weights < 1 or block_size < 1:
            raise ValueError(f"{num_weights} weights in blocks of {block_size}: both must be at least 1")
        if not damp > 0:
            raise ValueError(f"dampening {damp} is not valid: it must be larger than 0")
        self.num_weights, self.block_size, self.damp = num_weights, block_size, damp
        self.num_gradients = 0
        num_blocks = -(-num_weights // block_size)
        self._gram = torch.zeros(num_blocks, block_size, block_size, dtype=torch.float64, device=device)

    def update(self, gradients: Tensor) -> None:
        """Adds gradients.

        Args:
            gradients: (m, num_weights), one gradient a row; any number of times.

        Raises:
            ValueError: If the shape is another.
        """
        if gradients.ndim != 2 or gradients.shape[1] != self.num_weights:
            raise ValueError(f"gradients have shape {tuple(gradients.shape)}, expected (m, {self.num_weights})")
        m = len(gradients)
        padded = F.pad(gradients.to(self._gram), (0, self._gram.shape[0] * self.block_size - self.num_weights))
        blocks = padded.view(m, -1, self.block_size).transpose(0, 1)  # (num_blocks, m, B)
        self._gram.baddbmm_(blocks.transpose(1, 2), blocks)
        self.num_gradients += m

    def inverse(self) -> Tensor:
        """Returns F^-1 block by block: (num_blocks, B, B), float64.

        Raises:
            ValueError: If no gradient was added, or a block is not positive definite.
        """
        if not self.num_gradients:
            raise ValueError("the Fisher has seen no gradients: call update first")
        result = torch.empty_like(self._gram)
        chunk = max(1, CHUNK_BYTES // (8 * self.block_size**2))
        for start in range(0, len(result), chunk):
            fisher = self._gram[start : start + chunk] / self.num_gradients
            fisher.diagonal(dim1=1, dim2=2).add_(self.damp)
            factor, failed = torch.linalg.cholesky_ex(fisher)
            if failed.any():
                block = start + int(failed.nonzero()[0])
                raise ValueError(
                    f"Fisher block {block} is not positive definite: raise the dampening above {self.damp:g}, "
                    "or check the gradients for infinities"
                )
            result[start : start + chunk] = torch.cholesky_inverse(factor)
        return result


def check_options(block_size: int, num_gradients: int | None, damp: float) -> None:
    """Refuses options of a Fisher-based pruner that make no sense.

    Raises:
        ValueError: If a value is out of range or no number.
    """
    for name, value in (("block_size", block_size), ("num_gradients", num_gradients)):
        if not ((isinstance(value, int) and value >= 1) or (value is None and name == "num_gradients")):
            raise ValueError(f"{name}={value!r} is not valid: it is a whole number of at least 1")
    if not (isinstance(damp, int | float) and 0 < damp < float("inf")):
        raise ValueError(f"damp={damp!r} is not valid: it is a number larger than 0")


def estimate_inverse_fishers(
    model: nn.Module,
    layers: Mapping[str, Tensor],
    calibration: Calibration,
    num_gradients: int | None,
    block_size: int,
    damp: float,
) -> dict[str, Tensor]:
    """Estimates F^-1 of every layer in one pass over the calibration gradients.

    Gradients of weights that are already zero are left out, as are those under a mask in the release.

    Returns:
        For every layer (num_blocks, B, B).
    """
    fishers = {n: BlockFisher(w.numel(), block_size, damp, w.device) for n, w in layers.items()}
    present = {name: (weight.detach().reshape(-1) != 0) for name, weight in layers.items()}
    for gradients in calibration.gradients(model, layers, num_gradients):
        for name, fisher in fishers.items():
            fisher.update(gradients[name] * present[name])
    inverses = {}
    for name in layers:
        try:
            inverses[name] = fishers.pop(name).inverse()  # popped, so that each Gram matrix is freed in turn
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return inverses
