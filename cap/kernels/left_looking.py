"""The same elimination as a pivoted Cholesky decomposition of the inverse, batched in torch."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_BYTES = 2**25  # scratch: what stays in a shared cache


def eliminate_blocks(weight: Tensor, fisher_inverse: Tensor, quota: int, group: int) -> tuple[Tensor, Tensor]:
    """Removes weights in the order of Algorithm 1 without ever updating the inverse.

    Removing p replaces H by `H - H[:,p] H[p,:] / H_pp`, which is one step of a Cholesky decomposition of H, pivot p.
    With the scaled rows `u_k = H_k[p_k] / sqrt(H_k[p_k, p_k])` kept, the row that the next step needs is
    `H0[p] - sum_k u_k[p] u_k`; beside it only the diagonal and the weights are updated. Arguments and results are those
    of `cap.kernels.reference.eliminate_blocks`.
    """
    size = weight.shape[1]
    steps = size // group * quota
    chunk = max(1, CHUNK_BYTES // (8 * size * (size + steps)))
    parts = [
        _eliminate_chunk(w.double(), h.double(), quota, group)
        for w, h in zip(weight.split(chunk), fisher_inverse.split(chunk), strict=True)
    ]
    return torch.cat([order for order, _ in parts]), torch.cat([loss for _, loss in parts])


def _eliminate_chunk(w: Tensor, h: Tensor, quota: int, group: int) -> tuple[Tensor, Tensor]:
    num_blocks, size = w.shape
    steps = size // group * quota
    w = w.clone()
    block = torch.arange(num_blocks, device=w.device)
    order = torch.empty(num_blocks, steps, dtype=torch.int64, device=w.device)
    loss = torch.full_like(w, torch.inf)
    total = torch.zeros(num_blocks, dtype=w.dtype, device=w.device)
    available = torch.ones_like(w, dtype=torch.bool)
    left_in_group = torch.full((num_blocks, size // group), quota, device=w.device)
    diagonal = h.diagonal(dim1=1, dim2=2).clone()
    rows = w.new_empty(num_blocks, steps, size)  # u_k
    for k in range(steps):
        saliency = (w**2 / diagonal).masked_fill_(~available, torch.inf)
        p = saliency.argmin(dim=1)
        total = total + saliency[block, p] / 2
        order[:, k], loss[block, p] = p, total
        past = rows[:, :k]
        row = h[block, p]
        if k:
            row = row - torch.bmm(past[block, :, p].unsqueeze(1), past).squeeze(1)
        pivot = diagonal[block, p]
        w -= row * (w[block, p] / pivot)[:, None]
        rows[:, k] = row / pivot.sqrt()[:, None]
        diagonal -= rows[:, k] ** 2
        available[block, p] = False
        left_in_group[block, p // group] -= 1
        if quota < group:
            available &= (left_in_group > 0).repeat_interleave(group, dim=1)
    return order, loss
