"""The elimination in Triton, one block of weights per program; needs Triton, which torch brings along for CUDA."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SCRATCH_BYTES = 2**28
TILE = 16  # earlier rows read at a time


def eliminate_blocks(
    weight: Tensor, fisher_inverse: Tensor, quota: int, group: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Removes weights in the order of Algorithm 1, as `cap.kernels.batched.eliminate_blocks` does.

    The weights, the diagonal and the row at work are in registers. The earlier rows u_k (B * B * 8 bytes a block: at
    B = 256 more than a multiprocessor's registers and shared memory hold) are in a scratch buffer of the few blocks at
    work at a time, which the caches keep.
    """
    num_blocks, size = weight.shape
    order = torch.empty(num_blocks, steps, dtype=torch.int64, device=weight.device)
    loss = torch.empty(num_blocks, size, dtype=torch.float64, device=weight.device)
    weight, fisher_inverse = weight.contiguous(), fisher_inverse.contiguous()
    padded = triton.next_power_of_2(size)
    chunk = max(1, SCRATCH_BYTES // (8 * size * steps))
    rows = torch.empty(min(chunk, num_blocks), steps, size, dtype=torch.float64, device=weight.device)
    with torch.cuda.device_of(weight):  # Triton launches on the current device
        for start in range(0, num_blocks, chunk):
            part = slice(start, start + chunk)
            elimination_kernel[(len(weight[part]),)](
                weight[part], fisher_inverse[part], order[part], loss[part], rows, steps, quota,
                size=size, padded=padded, group=group, tile=tile_rows(padded), num_warps=warps(padded),
            )  # fmt: skip
    return order, loss


def warps(padded: int) -> int:
    """Returns the warps of a program, 32 threads each: more where its rows would not fit into the registers of a few.

    Args:
        padded: Power of two, at least B.
    """
    return min(16, max(4, padded // 128))


def tile_rows(padded: int) -> int:
    """Returns how many earlier rows are read at a time: fewer where even all warps hold no `TILE` of them.

    Args:
        padded: Power of two, at least B.
    """
    return max(1, min(TILE, TILE * 2048 // padded))


@triton.jit
def elimination_kernel(  # type: ignore[no-untyped-def]
    weight, inverse, order, loss, rows, steps, quota,
    size: tl.constexpr, padded: tl.constexpr, group: tl.constexpr, tile: tl.constexpr,
):  # fmt: skip
    """Fills order, losses and scratch rows of the block whose number is the program's; shapes as in `eliminate_blocks`.

    Args:
        weight: Weights, (num_blocks, B).
        inverse: Inverse Fisher blocks, (num_blocks, B, B).
        order: Room for the order of removal, (num_blocks, K), int64.
        loss: Room for the losses, (num_blocks, B), float64; NaN where no removable weight is left too early.
        rows: Scratch, (num_blocks, K, B), float64.
        steps: K, number of weights to remove.
        quota: Number of weights of each group that are removed before it is closed.
        size: B, number of weights in a block.
        padded: Power of two, at least B.
        group: Number of weights in a group.
        tile: Number of earlier rows read at a time.
    """
    block = tl.program_id(0).to(tl.int64)
    inverse += block * size * size
    rows += block * steps * size
    j = tl.arange(0, padded)
    ahead = tl.arange(0, tile)
    inside = j < size
    w = tl.load(weight + block * size + j, mask=inside, other=0.0).to(tl.float64)
    diagonal = tl.load(inverse + j * (size + 1), mask=inside, other=1.0).to(tl.float64)
    losses = tl.full([padded], float("inf"), tl.float64)
    total = tl.sum(tl.zeros([padded], tl.float64), axis=0)  # a scalar in double precision
    available = inside
    left_in_group = tl.zeros([padded], tl.int32) + quota
    for k in range(steps):
        saliency = tl.where(available & (left_in_group > 0), w * w / diagonal, float("inf"))
        least = tl.min(saliency, axis=0)
        p = tl.min(tl.where(saliency == least, j, padded), axis=0)
        p = tl.minimum(p, size - 1)  # no minimum among NaN
        at_p = j == p
        pivot = tl.sum(tl.where(at_p, diagonal, 0.0), axis=0)
        total = tl.where((pivot > 0) & (least < float("inf")), total + least / 2, float("nan"))
        tl.store(order + block * steps + k, p.to(tl.int64))
        losses = tl.where(at_p, total, losses)
        row = tl.load(inverse + p * size + j, mask=inside, other=0.0).to(tl.float64)
        for start in range(0, k, tile):
            earlier = start + ahead
            factors = tl.load(rows + earlier * size + p, mask=earlier < k, other=0.0)
            past = tl.load(
                rows + earlier[:, None] * size + j[None, :], mask=(earlier < k)[:, None] & inside[None, :], other=0.0
            )
            row -= tl.sum(factors[:, None] * past, axis=0)
        w -= row * (tl.sum(tl.where(at_p, w, 0.0), axis=0) / pivot)
        scaled = row / tl.sqrt(pivot)
        tl.store(rows + k * size + j, scaled, mask=inside)
        diagonal -= scaled * scaled
        available = available & (j != p)
        left_in_group -= (j // group == p // group).to(tl.int32)
        tl.debug_barrier()  # the next step reads what other threads of this program have just stored
    tl.store(loss + block * size + j, losses, mask=inside)
