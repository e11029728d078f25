"""Solutions with packed triangles for the CPU, compiled by numba as the kernels of `cap.kernels.cpu` are.

A packed triangle is M of `cap.kernels.batched.factor_blocks`: a block's inverse is `M^T M`, its entries in M's order.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from cap.kernels.cpu import cholesky, compiled, subtract_rows
from cap.kernels.threads import use_torch_threads


def solve_upper(packed: Tensor, vector: Tensor) -> Tensor:
    """Solves `M^T y = v`, as `cap.kernels.batched.solve_upper` does."""
    result = vector.clone(memory_format=torch.contiguous_format)
    use_torch_threads()
    _solve_upper(packed.numpy(), result.numpy())
    return result


def solve_lower(packed: Tensor, vector: Tensor) -> Tensor:
    """Solves `M y = v`, as `cap.kernels.batched.solve_lower` does."""
    result = vector.clone(memory_format=torch.contiguous_format)
    use_torch_threads()
    _solve_lower(packed.numpy(), result.numpy())
    return result


def joint_update(packed: Tensor, weight: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Removes a set of weights of each block at once, as `cap.kernels.batched.joint_update` does."""
    result = weight.clone(memory_format=torch.contiguous_format)
    failed = np.zeros(len(packed), dtype=np.bool_)
    use_torch_threads()
    _joint_update(packed.numpy(), result.numpy(), keep.contiguous().numpy(), failed)
    return result, torch.from_numpy(failed)


@compiled
def _solve_upper(packed, vector):  # type: ignore[no-untyped-def]
    num_blocks, size = vector.shape
    for b in numba.prange(num_blocks):
        for i in range(size - 1, -1, -1):
            row = packed[b, i * (i + 1) // 2 :]
            value = vector[b, i] / row[i]
            vector[b, i] = value
            for j in range(i):
                vector[b, j] -= value * row[j]


@compiled
def _solve_lower(packed, vector):  # type: ignore[no-untyped-def]
    num_blocks, size = vector.shape
    for b in numba.prange(num_blocks):
        for i in range(size):
            row = packed[b, i * (i + 1) // 2 :]
            total = vector[b, i]
            for j in range(i):
                total -= row[j] * vector[b, j]
            vector[b, i] = total / row[i]


@compiled
def _joint_update(packed, weight, keep, failed):  # type: ignore[no-untyped-def]
    num_blocks, size = weight.shape
    for b in numba.prange(num_blocks):
        gone = np.nonzero(~keep[b])[0]
        count = len(gone)
        if count == 0:
            continue
        columns, upper = np.empty((size, count)), np.empty((count, count))  # M[:,S]; H[S,S], then its Cholesky factor
        factors, solution = np.empty(size), np.empty(count)
        for k in range(size):
            row = packed[b, k * (k + 1) // 2 :]
            for j in range(count):
                columns[k, j] = row[gone[j]] if gone[j] <= k else 0.0
        for i in range(count):
            upper[i, i:] = 0
            first = gone[i]
            for k in range(first, size):
                factors[k - first] = -columns[k, i]
            subtract_rows(upper[i, i:], factors, columns[first:, i:], size - first, count - i, 0)
            solution[i] = weight[b, first]
        failed[b] = not _solve(upper, solution, factors)
        if failed[b]:
            continue
        for k in range(size):
            row, product = packed[b, k * (k + 1) // 2 :], 0.0
            for j in range(count):
                product += columns[k, j] * solution[j]
            for j in range(k + 1):
                weight[b, j] -= product * row[j]
        for j in range(count):
            weight[b, gone[j]] = 0.0


@numba.njit(inline="always", fastmath={"contract"}, error_model="numpy")
def _solve(upper, solution, factors):  # type: ignore[no-untyped-def]
    """Solves a positive definite system in place, of which the upper triangle is given; returns whether it is one."""
    size = len(solution)
    if not cholesky(upper, factors):
        return False
    for i in range(size):
        solution[i] /= upper[i, i]
        for j in range(i + 1, size):
            solution[j] -= upper[i, j] * solution[i]
    for i in range(size - 1, -1, -1):
        total = solution[i]
        for j in range(i + 1, size):
            total -= upper[i, j] * solution[j]
        solution[i] = total / upper[i, i]
    return True
