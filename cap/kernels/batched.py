"""Kernels in batched torch, for any device.

These functions define what every other set of kernels does: `cap.kernels.cpu` has the same ones, compiled.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_BYTES = 2**25  # scratch: what stays in a shared cache


def add_gram(gram: Tensor, gradients: Tensor) -> None:
    """Adds `sum_i g_i g_i^T` to every block, at least to its lower triangle.

    Args:
        gram: Sums, (num_blocks, B, B), float32 or float64; changed in place. Entries above the diagonal mean nothing.
        gradients: Gradients, (m, num_blocks * B), float32 or float64.
    """
    num_blocks, size, _ = gram.shape
    step = max(1, CHUNK_BYTES // (gram.itemsize * len(gradients) * size))  # of gradients in the sums' precision
    for start in range(0, num_blocks, step):
        sums = gram[start : start + step]
        rows = gradients[:, start * size : (start + len(sums)) * size].to(gram.dtype)
        blocks = rows.view(len(gradients), len(sums), size).transpose(0, 1)
        sums.baddbmm_(blocks.transpose(1, 2), blocks)


def damped_mean(gram: Tensor, count: int, damp: float, out: Tensor) -> None:
    """Writes `damp * I + gram / count`.

    Args:
        gram: Sums, (num_blocks, B, B), as `add_gram` leaves them: the lower triangle counts.
        count: Number of gradients in the sum.
        damp: Dampening.
        out: Room for the result, (num_blocks, B, B), float64, symmetric afterwards.
    """
    lower = torch.ones(gram.shape[1:], dtype=torch.bool, device=gram.device).tril()
    out.copy_(torch.where(lower, gram, gram.transpose(1, 2))).div_(count)
    out.diagonal(dim1=1, dim2=2).add_(damp)


def invert_blocks(matrix: Tensor, out: Tensor) -> Tensor:
    """Inverts symmetric positive definite blocks.

    Args:
        matrix: Blocks, (num_blocks, B, B), float64.
        out: Room for the inverses; may be `matrix` itself.

    Returns:
        (num_blocks,), True for blocks that are not positive definite: their contents mean nothing then.
    """
    lower, info = torch.linalg.cholesky_ex(matrix)
    torch.cholesky_inverse(lower, out=out)
    return not_positive(lower, info)


def not_positive(lower: Tensor, info: Tensor) -> Tensor:
    """Returns which Cholesky decompositions failed: on matrices that are not positive definite, or not finite."""
    return (info != 0) | ~lower.diagonal(dim1=1, dim2=2).isfinite().all(1)


def factor_blocks(matrix: Tensor, order: Tensor, weight: Tensor, packed: Tensor, coefficients: Tensor) -> Tensor:
    """Factors the inverse of symmetric positive definite blocks.

    With P the permutation that brings entry `order[t]` to place t: the inverse of `P F P^T` is `M^T M` with M lower
    triangular, and `M^T c = P w`. Taking away the last k terms of that sum, `c_t M[t]`, removes the weights at the last
    k places by the joint OBS update.

    Args:
        matrix: F, (num_blocks, B, B), float64.
        order: Permutation of each block's entries, (num_blocks, B), int64.
        weight: Weights w, (num_blocks, B).
        packed: Room for M, (num_blocks, B * (B + 1) / 2): its rows up to the diagonal one after the other.
        coefficients: Room for c, (num_blocks, B).

    Returns:
        (num_blocks,), True for blocks that are not positive definite: their results mean nothing then.
    """
    size = matrix.shape[1]
    block = torch.arange(len(matrix), device=matrix.device)[:, None, None]
    lower, info = torch.linalg.cholesky_ex(matrix[block, order[:, :, None], order[:, None, :]])
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    inverse = torch.linalg.solve_triangular(lower, identity.expand_as(matrix), upper=False)
    i, j = torch.tril_indices(size, size, device=matrix.device)
    packed.copy_(inverse[:, i, j])
    permuted = weight.to(matrix.dtype).gather(1, order)
    coefficients.copy_(torch.bmm(permuted[:, None, :], lower).squeeze(1))
    return not_positive(lower, info)


def unpack(packed: Tensor, size: int) -> Tensor:
    """Undoes the packing of `factor_blocks`: (num_blocks, B, B), lower triangular, float64."""
    result = torch.zeros(len(packed), size, size, dtype=torch.float64, device=packed.device)
    i, j = torch.tril_indices(size, size, device=packed.device)
    result[:, i, j] = packed.double()
    return result


def subtract_last_rows(weight: Tensor, packed: Tensor, coefficients: Tensor, counts: Tensor) -> Tensor:
    """Takes `c_t M[t]` from the weights for the last rows t of each block's triangle.

    Args:
        weight: Weights, (num_blocks, B), in the order of the triangle's columns.
        packed: M, as `factor_blocks` packs it.
        coefficients: c, (num_blocks, B).
        counts: Number of rows, (num_blocks,), int64.

    Returns:
        (num_blocks, B), float64.
    """
    size = weight.shape[1]
    last = torch.arange(size, device=weight.device) >= size - counts[:, None]
    result = torch.empty(weight.shape, dtype=torch.float64, device=weight.device)
    for part in _chunks(*weight.shape):
        taken = torch.bmm((coefficients[part].double() * last[part])[:, None, :], unpack(packed[part], size))
        result[part] = weight[part] - taken.squeeze(1)
    return result


def inverse_diagonal(packed: Tensor, size: int) -> Tensor:
    """Returns the diagonals of `M^T M`: (num_blocks, B), float64."""
    result = torch.empty(len(packed), size, dtype=torch.float64, device=packed.device)
    for part in _chunks(len(packed), size):
        result[part] = unpack(packed[part], size).square_().sum(1)
    return result


def multiply_inverse(packed: Tensor, vector: Tensor) -> Tensor:
    """Returns `M^T M v` for every block.

    Args:
        packed: M, as `factor_blocks` packs it.
        vector: v, (num_blocks, B), float64.

    Returns:
        (num_blocks, B), float64.
    """
    result = torch.empty_like(vector)
    for part in _chunks(*vector.shape):
        lower = unpack(packed[part], vector.shape[1])
        result[part] = torch.bmm(lower.transpose(1, 2), torch.bmm(lower, vector[part].unsqueeze(2))).squeeze(2)
    return result


def solve_upper(packed: Tensor, vector: Tensor) -> Tensor:
    """Returns y with `M^T y = v` for every block: (num_blocks, B), float64.

    Args:
        packed: M, as `factor_blocks` packs it.
        vector: v, (num_blocks, B), float64.
    """
    result = torch.empty_like(vector)
    for part in _chunks(*vector.shape):
        upper = unpack(packed[part], vector.shape[1]).transpose(1, 2)
        result[part] = torch.linalg.solve_triangular(upper, vector[part].unsqueeze(2), upper=True).squeeze(2)
    return result


def solve_lower(packed: Tensor, vector: Tensor) -> Tensor:
    """Returns y with `M y = v` for every block; see `solve_upper`."""
    result = torch.empty_like(vector)
    for part in _chunks(*vector.shape):
        lower = unpack(packed[part], vector.shape[1])
        result[part] = torch.linalg.solve_triangular(lower, vector[part].unsqueeze(2), upper=False).squeeze(2)
    return result


def joint_update(packed: Tensor, weight: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Removes a set of weights of each block at once, and sets the others to their optimal values.

    Args:
        packed: M, as `factor_blocks` packs it.
        weight: w, (num_blocks, B), float64, in the order of M's columns.
        keep: Keep-mask, (num_blocks, B), in the same order.

    Returns:
        `w - H[:,S] (H[S,S])^-1 w_S` with H = M^T M and S what is not kept, exactly zero there: (num_blocks, B); and
        (num_blocks,), True for blocks that are not positive definite.
    """
    result, failed = torch.empty_like(weight), torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    for part in _chunks(*weight.shape):
        lower = unpack(packed[part], weight.shape[1])
        inverse = torch.bmm(lower.transpose(1, 2), lower)
        result[part], failed[part] = compensate_blocks(weight[part], inverse, keep[part])
    return result, failed


def compensate_blocks(weight: Tensor, inverse: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Does what `joint_update` does, with the inverse Fisher blocks H, (num_blocks, B, B), and all in its order."""
    gone = (~keep).double()
    # identity rows and columns for the kept weights leave the removed ones' system alone
    system = inverse * gone[:, :, None] * gone[:, None, :] + torch.diag_embed(keep.double())
    lower, info = torch.linalg.cholesky_ex(system)
    solution = torch.cholesky_solve((weight * gone)[:, :, None], lower)
    return (weight - torch.bmm(inverse, solution).squeeze(2)) * keep, not_positive(lower, info)


def _chunks(num_blocks: int, size: int) -> Iterator[slice]:
    step = max(1, CHUNK_BYTES // (8 * size**2))
    for start in range(0, num_blocks, step):
        yield slice(start, start + step)


def first_minimum(values: Tensor) -> Tensor:
    """Returns the lowest index of each row's minimum; which one `argmin` gives is up to the device."""
    index = torch.arange(values.shape[1], device=values.device)
    found = torch.where(values == values.amin(1, keepdim=True), index, len(index)).amin(1)
    return found.clamp_(max=len(index) - 1)  # a row of NaN has none


def eliminate_blocks(
    weight: Tensor, fisher_inverse: Tensor, quota: int, group: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Removes weights in the order of Algorithm 1 without ever updating the inverse.

    Removing p replaces H by `H - H[:,p] H[p,:] / H_pp`, which is one step of a Cholesky decomposition of H, pivot p.
    With the scaled rows `u_k = H_k[p_k] / sqrt(H_k[p_k, p_k])` kept, the row that the next step needs is
    `H0[p] - sum_k u_k[p] u_k`; beside it only the diagonal and the weights are updated. Arguments and results are those
    of `cap.kernels.reference.eliminate_blocks`.
    """
    size = weight.shape[1]
    chunk = max(1, CHUNK_BYTES // (8 * size * (size + steps)))
    parts = [
        _eliminate_chunk(w.double(), h.double(), quota, group, steps)
        for w, h in zip(weight.split(chunk), fisher_inverse.split(chunk), strict=True)
    ]
    return torch.cat([order for order, _ in parts]), torch.cat([loss for _, loss in parts])


def _eliminate_chunk(w: Tensor, h: Tensor, quota: int, group: int, steps: int) -> tuple[Tensor, Tensor]:
    num_blocks, size = w.shape
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
        p = first_minimum(saliency)
        pivot = diagonal[block, p]
        total = torch.where(pivot > 0, total + saliency[block, p] / 2, torch.nan)
        order[:, k], loss[block, p] = p, total
        past = rows[:, :k]
        row = h[block, p]
        if k:
            row = row - torch.bmm(past[block, :, p].unsqueeze(1), past).squeeze(1)
        w -= row * (w[block, p] / pivot)[:, None]
        rows[:, k] = row / pivot.sqrt()[:, None]
        diagonal -= rows[:, k] ** 2
        available[block, p] = False
        left_in_group[block, p // group] -= 1
        if quota < group:
            available &= (left_in_group > 0).repeat_interleave(group, dim=1)
    return order, loss
