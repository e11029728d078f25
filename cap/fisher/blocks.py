"""The dampened block-diagonal empirical Fisher of one layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from cap.elimination import check_positive
from cap.fisher.gram import Gram
from cap.kernels import batched, for_device

CHUNK_BYTES = 2**26  # blocks that are inverted and factored at a time


def split_blocks(tensor: Tensor, block_size: int) -> Tensor:
    """Cuts a weight into blocks of consecutive entries of its row-major order, the last one padded with zeros.

    Args:
        tensor: Weight of any shape.
        block_size: B, number of weights in a block.

    Returns:
        (num_blocks, B). A padded entry has weight 0 and gradient 0, so it changes nothing and costs nothing to remove.
    """
    flat = tensor.reshape(-1)
    return F.pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)


def merge_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """Undoes `split_blocks`: (num_blocks, B) to the shape of `like`."""
    return blocks.reshape(-1)[: like.numel()].view(like.shape)


def block_chunks(num_blocks: int, block_size: int) -> Iterator[slice]:
    """Yields ranges of blocks whose matrices take about `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES // (8 * block_size**2))
    for start in range(0, num_blocks, step):
        yield slice(start, min(start + step, num_blocks))


def chunk_bytes(num_blocks: int, block_size: int) -> int:
    """Returns the bytes of the matrices of the largest of the `block_chunks`."""
    return 8 * block_size**2 * next(block_chunks(num_blocks, block_size)).stop


def scratch_like(num_blocks: int, block_size: int, device: torch.device) -> Tensor:
    """Returns room for the largest of the `block_chunks`: (blocks, B, B), float64."""
    largest = next(block_chunks(num_blocks, block_size)).stop
    return torch.empty(largest, block_size, block_size, dtype=torch.float64, device=device)


class BlockFisher:
    """Estimate of `F = damp * I + (1/m) * sum_i g_i g_i^T` on diagonal blocks of consecutive weights.

    Kuznedelev et al., 2023, section 3 (arXiv 2210.09223).

    Args:
        num_weights: Number of weights of the layer.
        block_size: B, number of weights in a block. If it does not divide `num_weights`, the last block is
            padded with inert entries.
        damp: Dampening, larger than 0.
        device: Device of the blocks.
        dtype: Precision of the sums and the inverse: float64, or float32 for half the memory where the dampening is not
            small beside the largest eigenvalue.
    """

    def __init__(
        self,
        num_weights: int,
        block_size: int,
        damp: float,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if num_weights < 1 or block_size < 1:
            raise ValueError(f"{num_weights} weights in blocks of {block_size}: both must be at least 1")
        if not damp > 0:
            raise ValueError(f"dampening {damp} is not valid: it must be larger than 0")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype {dtype} is not valid: choose torch.float32 or torch.float64")
        self.num_weights, self.block_size, self.damp, self.dtype = num_weights, block_size, damp, dtype
        self._gram = Gram(num_weights, block_size, device, dtype)

    @property
    def num_gradients(self) -> int:
        """Number of gradients that were added."""
        return self._gram.count

    def update(self, gradients: Tensor) -> None:
        """Adds gradients.

        Args:
            gradients: Gradients, (m, num_weights), one a row; any number of times.

        Raises:
            ValueError: If the shape is another.
        """
        if gradients.ndim != 2 or gradients.shape[1] != self.num_weights:
            raise ValueError(f"gradients have shape {tuple(gradients.shape)}, expected (m, {self.num_weights})")
        if not self.num_gradients and gradients.dtype == torch.float64:
            self._gram.gathered = torch.float64
        for rows in gradients.split(self._gram.capacity):
            self._gram.slots(len(rows)).copy_(rows)

    def inverse(self) -> Tensor:
        """Returns F^-1 block by block: (num_blocks, B, B).

        With fewer than B gradients by the Woodbury identity, otherwise by a Cholesky decomposition.

        Raises:
            ValueError: If no gradient was added, or a block is not positive definite.
        """
        if not self.num_gradients:
            raise ValueError("the Fisher has seen no gradients: call update first")
        gram = self._gram
        gram.finish()
        result = gram._like.new_empty(gram.num_blocks, self.block_size, self.block_size)
        bad = torch.zeros(gram.num_blocks, dtype=torch.bool, device=result.device)
        scratch = scratch_like(gram.num_blocks, self.block_size, result.device)
        for part in block_chunks(gram.num_blocks, self.block_size):
            gradients = gram.gradients(part) if self.num_gradients < self.block_size else None
            if gradients is not None:
                inverse, failed = woodbury(gradients, self.damp)
            else:
                inverse = gram.fisher(part, self.damp, scratch[: part.stop - part.start])
                failed = for_device(inverse.device).invert_blocks(inverse, inverse)
            result[part], bad[part] = inverse, failed
        check_fisher(bad, self.damp)
        return result


def woodbury(gradients: Tensor, damp: float) -> tuple[Tensor, Tensor]:
    """Inverts `damp * I + (1/m) G^T G` through the smaller m x m system.

    `F^-1 = (I - G^T (m damp I + G G^T)^-1 G) / damp`.

    Args:
        gradients: G, (num_blocks, m, B), float64.
        damp: Dampening.

    Returns:
        (num_blocks, B, B), and (num_blocks,), True where the system was not positive definite.
    """
    _, m, size = gradients.shape
    system = torch.bmm(gradients, gradients.transpose(1, 2))
    system.diagonal(dim1=1, dim2=2).add_(m * damp)
    lower, info = torch.linalg.cholesky_ex(system)
    half = torch.linalg.solve_triangular(lower, gradients, upper=False)
    identity = torch.eye(size, dtype=gradients.dtype, device=gradients.device)
    return torch.baddbmm(identity, half.transpose(1, 2), half, alpha=-1).div_(damp), batched.not_positive(lower, info)


def check_fisher(failed: Tensor, damp: float) -> None:
    """Raises an error that names the first Fisher block which is not positive definite.

    Args:
        failed: Flags, (num_blocks,), True for such blocks.
        damp: Dampening that was not enough.
    """
    check_positive(failed, "Fisher block", f"raise the dampening above {damp:g}, or check the gradients for infinities")
