"""The elimination compiled for the CPU by numba: one block at a time per core, its rows in the core's own cache."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor


def eliminate_blocks(weight: Tensor, fisher_inverse: Tensor, quota: int, group: int) -> tuple[Tensor, Tensor]:
    """Removes weights in the order of Algorithm 1; blocks are shared out among torch's threads.

    The algorithm is that of `cap.kernels.left_looking`, arguments and results are those of
    `cap.kernels.reference.eliminate_blocks`. Every block is worked on by one thread in a fixed order of operations, so
    the result does not depend on the number of threads.
    """
    num_blocks, size = weight.shape
    order = np.empty((num_blocks, size // group * quota), dtype=np.int64)
    loss = np.full((num_blocks, size), np.inf)
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    numba.set_num_threads(min(torch.get_num_threads(), most))
    _eliminate(
        weight.detach().double().numpy(),
        fisher_inverse.detach().double().contiguous().numpy(),
        quota,
        group,
        order,
        loss,
    )
    return torch.from_numpy(order), torch.from_numpy(loss)


@numba.njit(parallel=True, cache=True)
def _eliminate(
    weight: np.ndarray, inverse: np.ndarray, quota: int, group: int, order: np.ndarray, loss: np.ndarray
) -> None:
    """Fills `order` and `loss`; a block with no removable weight left too early gets a loss of NaN."""
    num_blocks, size = weight.shape
    steps = order.shape[1]
    for b in numba.prange(num_blocks):
        w = weight[b].copy()
        diagonal = np.empty(size)
        for j in range(size):
            diagonal[j] = inverse[b, j, j]
        available = np.ones(size, dtype=np.bool_)
        left_in_group = np.full(size // group, quota)
        rows = np.empty((steps, size))  # u_k
        row = np.empty(size)
        total = 0.0
        for k in range(steps):
            p, least = -1, np.inf
            for j in range(size):
                if available[j]:
                    saliency = w[j] * w[j] / diagonal[j]
                    if saliency < least:
                        p, least = j, saliency
            if p < 0 or diagonal[p] <= 0:
                loss[b, :] = np.nan
                break
            total += least / 2
            order[b, k] = p
            loss[b, p] = total
            row[:] = inverse[b, p]
            for i in range(k):
                factor = rows[i, p]
                for j in range(size):
                    row[j] -= factor * rows[i, j]
            pivot = diagonal[p]
            step, scale = w[p] / pivot, 1 / np.sqrt(pivot)
            for j in range(size):
                w[j] -= row[j] * step
                rows[k, j] = row[j] * scale
                diagonal[j] -= rows[k, j] * rows[k, j]
            available[p] = False
            left_in_group[p // group] -= 1
            if quota < group and left_in_group[p // group] == 0:
                for j in range(p // group * group, p // group * group + group):
                    available[j] = False
