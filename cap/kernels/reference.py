"""Algorithm 1 of the paper as printed: the oracle for the faster kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from cap.kernels.batched import first_minimum


def eliminate_blocks(
    weight: Tensor, fisher_inverse: Tensor, quota: int, group: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Removes weights one by one, each time the one whose removal raises the loss least (Algorithm 1).

    Every step updates the whole inverse of every block, so it costs O(B^3) memory traffic a block.

    Args:
        weight: Weights, (num_blocks, B).
        fisher_inverse: Inverse Fisher blocks, (num_blocks, B, B).
        quota: Number of weights of each group of consecutive weights that are removed before it is closed.
        group: Size of the groups; it divides B.
        steps: K, number of weights of each block that are removed: at most B / group * quota.

    Returns:
        order: (num_blocks, K), int64: the index of the weight removed k-th.
        loss: (num_blocks, B): the cumulative loss increase at which each weight goes, inf for one that stays.
    """
    w, h = (tensor.to(torch.float64, copy=True) for tensor in (weight, fisher_inverse))
    num_blocks = len(w)
    block = torch.arange(num_blocks, device=w.device)
    order = torch.empty(num_blocks, steps, dtype=torch.int64, device=w.device)
    loss = torch.full_like(w, torch.inf)
    total = torch.zeros(num_blocks, dtype=w.dtype, device=w.device)
    removed = torch.zeros_like(w, dtype=torch.bool)
    for k in range(steps):
        closed = removed.view(num_blocks, -1, group).sum(2) >= quota
        unavailable = removed | closed.repeat_interleave(group, dim=1)
        diagonal = h.diagonal(dim1=1, dim2=2)
        saliency = (w**2 / diagonal).masked_fill(unavailable, torch.inf)  # rho_j = w_j^2 / H_jj
        p = first_minimum(saliency)
        total = total + saliency[block, p] / 2  # L += rho_p / 2
        order[:, k], loss[block, p] = p, total
        column, pivot = h[block, :, p], diagonal[block, p]
        w -= column * (w[block, p] / pivot)[:, None]  # w -= H[:,p] w_p / H_pp
        h -= column[:, :, None] * column[:, None, :] / pivot[:, None, None]  # H -= H[:,p] H[p,:] / H_pp
        removed[block, p] = True
        w[removed] = 0
    return order, loss
