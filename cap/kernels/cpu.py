"""Kernels compiled for the CPU by numba: one block at a time per core, its rows in the core's own cache.

Every block is worked on by one thread in a fixed order of operations, so results do not depend on the number of
threads. Arguments and results are those of the functions of the same names in `cap.kernels.batched`.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from cap.kernels.threads import use_torch_threads


def eliminate_blocks(
    weight: Tensor, fisher_inverse: Tensor, quota: int, group: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Removes weights in the order of Algorithm 1, as `cap.kernels.batched.eliminate_blocks` does."""
    num_blocks, size = weight.shape
    order = np.empty((num_blocks, steps), dtype=np.int64)
    loss = np.full((num_blocks, size), np.inf)
    use_torch_threads()
    _eliminate(_numpy(weight), _numpy(fisher_inverse), quota, group, order, loss)
    return torch.from_numpy(order), torch.from_numpy(loss)


def add_gram(gram: Tensor, gradients: Tensor) -> None:
    """Adds outer products to blocks, as `cap.kernels.batched.add_gram` does."""
    use_torch_threads()
    _add_gram(gram.numpy(), gradients.numpy())


def damped_mean(gram: Tensor, count: int, damp: float, out: Tensor) -> None:
    """Writes Fisher blocks, as `cap.kernels.batched.damped_mean` does."""
    use_torch_threads()
    _damped_mean(gram.numpy(), count, damp, out.numpy())


def invert_blocks(matrix: Tensor, out: Tensor) -> Tensor:
    """Inverts positive definite blocks, as `cap.kernels.batched.invert_blocks` does."""
    failed = np.zeros(len(matrix), dtype=np.bool_)
    use_torch_threads()
    _invert(matrix.numpy(), out.numpy(), failed)
    return torch.from_numpy(failed)


def factor_blocks(matrix: Tensor, order: Tensor, weight: Tensor, packed: Tensor, coefficients: Tensor) -> Tensor:
    """Factors the inverse of positive definite blocks, as `cap.kernels.batched.factor_blocks` does."""
    failed = np.zeros(len(matrix), dtype=np.bool_)
    use_torch_threads()
    _factor(_numpy(matrix), order.numpy(), _numpy(weight), packed.numpy(), coefficients.numpy(), failed)
    return torch.from_numpy(failed)


def subtract_last_rows(weight: Tensor, packed: Tensor, coefficients: Tensor, counts: Tensor) -> Tensor:
    """Takes the last rows of packed triangles from weights, as `cap.kernels.batched.subtract_last_rows` does."""
    result = weight.to(torch.float64, copy=True)
    use_torch_threads()
    _subtract_last_rows(result.numpy(), packed.numpy(), coefficients.numpy(), counts.numpy())
    return result


def inverse_diagonal(packed: Tensor, size: int) -> Tensor:
    """Returns diagonals of inverses, as `cap.kernels.batched.inverse_diagonal` does."""
    result = torch.zeros(len(packed), size, dtype=torch.float64)
    use_torch_threads()
    _inverse_diagonal(packed.numpy(), result.numpy())
    return result


def multiply_inverse(packed: Tensor, vector: Tensor) -> Tensor:
    """Multiplies inverses with vectors, as `cap.kernels.batched.multiply_inverse` does."""
    result = torch.zeros_like(vector)
    use_torch_threads()
    _multiply_inverse(packed.numpy(), vector.numpy(), result.numpy())
    return result


def _numpy(tensor: Tensor) -> np.ndarray:
    """Returns a contiguous floating-point array; a copy only if it must be one."""
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.double()
    return tensor.contiguous().numpy()


compiled = numba.njit(parallel=True, cache=True, fastmath={"contract"}, error_model="numpy")


@numba.njit(inline="always", fastmath={"contract"}, error_model="numpy")
def subtract_rows(row, factors, rows, count, n, growth):  # type: ignore[no-untyped-def]
    """Does `row[:n] -= sum_i factors[i] * rows[i, :n]` for i < count, eight rows at a time.

    With `growth` 1 row i is known to be zero beyond its entry i, with 0 nothing is known.
    """
    i = 0
    while i + 8 <= count:
        f0, f1, f2, f3 = factors[i], factors[i + 1], factors[i + 2], factors[i + 3]
        f4, f5, f6, f7 = factors[i + 4], factors[i + 5], factors[i + 6], factors[i + 7]
        r0, r1, r2, r3 = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        r4, r5, r6, r7 = rows[i + 4], rows[i + 5], rows[i + 6], rows[i + 7]
        for j in range(min(n, i + 8) if growth else n):
            row[j] -= ((f0 * r0[j] + f1 * r1[j]) + (f2 * r2[j] + f3 * r3[j])) + (
                (f4 * r4[j] + f5 * r5[j]) + (f6 * r6[j] + f7 * r7[j])
            )
        i += 8
    while i < count:
        f, r = factors[i], rows[i]
        for j in range(min(n, i + 1) if growth else n):
            row[j] -= f * r[j]
        i += 1


@compiled
def _add_gram(gram, gradients):  # type: ignore[no-untyped-def]
    num_blocks, size, _ = gram.shape
    count = len(gradients)
    for b in numba.prange(num_blocks):
        x = np.empty((count, size))
        for k in range(count):
            for j in range(size):
                x[k, j] = gradients[k, b * size + j]
        i = 0
        while i + 4 <= size:  # four rows of the Gram matrix by four gradients at a time
            g0, g1, g2, g3 = gram[b, i], gram[b, i + 1], gram[b, i + 2], gram[b, i + 3]
            k = 0
            while k + 4 <= count:
                x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
                a00, a01, a02, a03 = x0[i], x1[i], x2[i], x3[i]
                a10, a11, a12, a13 = x0[i + 1], x1[i + 1], x2[i + 1], x3[i + 1]
                a20, a21, a22, a23 = x0[i + 2], x1[i + 2], x2[i + 2], x3[i + 2]
                a30, a31, a32, a33 = x0[i + 3], x1[i + 3], x2[i + 3], x3[i + 3]
                for j in range(i + 4):
                    y0, y1, y2, y3 = x0[j], x1[j], x2[j], x3[j]
                    g0[j] += (a00 * y0 + a01 * y1) + (a02 * y2 + a03 * y3)
                    g1[j] += (a10 * y0 + a11 * y1) + (a12 * y2 + a13 * y3)
                    g2[j] += (a20 * y0 + a21 * y1) + (a22 * y2 + a23 * y3)
                    g3[j] += (a30 * y0 + a31 * y1) + (a32 * y2 + a33 * y3)
                k += 4
            for rest in range(k, count):
                y = x[rest]
                a0, a1, a2, a3 = y[i], y[i + 1], y[i + 2], y[i + 3]
                for j in range(i + 4):
                    g0[j] += a0 * y[j]
                    g1[j] += a1 * y[j]
                    g2[j] += a2 * y[j]
                    g3[j] += a3 * y[j]
            i += 4
        for last in range(i, size):
            for k in range(count):
                for j in range(last + 1):
                    gram[b, last, j] += x[k, last] * x[k, j]


@compiled
def _eliminate(weight, inverse, quota, group, order, loss):  # type: ignore[no-untyped-def]
    """Fills `order` and `loss`; a block with no removable weight left too early gets a loss of NaN.

    The weights still there are kept side by side, so that every loop runs over them alone: the one that goes changes
    places with the last.
    """
    num_blocks, size = weight.shape
    steps = order.shape[1]
    for b in numba.prange(num_blocks):
        index = np.arange(size)  # of the weight at each place
        w = weight[b].astype(np.float64)
        diagonal = np.empty(size)
        for j in range(size):
            diagonal[j] = inverse[b, j, j]
        left_in_group = np.full(size // group, quota)
        rows = np.empty((steps, size))  # u_k
        row, factors = np.empty(size), np.empty(steps)
        total = 0.0
        for k in range(steps):
            last = size - k - 1
            p, least = -1, np.inf
            for j in range(last + 1):
                if left_in_group[index[j] // group] > 0:
                    saliency = w[j] * w[j] / diagonal[j]
                    if saliency < least or (saliency == least and p >= 0 and index[j] < index[p]):
                        p, least = j, saliency
            if p < 0 or not diagonal[p] > 0:
                loss[b, :] = np.nan
                break
            gone = index[p]
            total += least / 2
            order[b, k] = gone
            loss[b, gone] = total
            if group > 1:
                left_in_group[gone // group] -= 1
            index[p], index[last] = index[last], gone
            w[p], w[last] = w[last], w[p]
            diagonal[p], diagonal[last] = diagonal[last], diagonal[p]
            for i in range(k):
                factors[i] = rows[i, p]
                rows[i, p] = rows[i, last]
            source = inverse[b, gone]
            for j in range(last):
                row[j] = source[index[j]]
            subtract_rows(row, factors, rows, k, last, 0)
            pivot = diagonal[last]
            step, scale = w[last] / pivot, 1 / np.sqrt(pivot)
            scaled = rows[k]
            for j in range(last):
                w[j] -= row[j] * step
                scaled[j] = row[j] * scale
                diagonal[j] -= scaled[j] * scaled[j]


@numba.njit(inline="always", fastmath={"contract"}, error_model="numpy")
def cholesky(upper, factors):  # type: ignore[no-untyped-def]
    """Replaces the upper triangle of a matrix by R, `R^T R` being it; returns False if it is not positive definite."""
    size = len(upper)
    for k in range(size):
        row = upper[k]
        for i in range(k):
            factors[i] = upper[i, k]
        subtract_rows(row[k:], factors, upper[:, k:], k, size - k, 0)
        if not 0 < row[k] < np.inf:
            return False
        scale = 1 / np.sqrt(row[k])
        for j in range(k, size):
            row[j] *= scale
    return True


@numba.njit(inline="always", fastmath={"contract"}, error_model="numpy")
def _inverse_factor(matrix, order, upper, lower, factors):  # type: ignore[no-untyped-def]
    """Fills `lower` with M, lower triangular: the inverse of the matrix, rows and columns permuted, is M^T M.

    Returns False if the matrix is not positive definite. `upper` receives its Cholesky factor.
    """
    size = len(order)
    for k in range(size):
        row, source = upper[k], matrix[order[k]]
        for j in range(k, size):
            row[j] = source[order[j]]
    if not cholesky(upper, factors):
        return False
    for i in range(size):  # the inverse of upper's transpose, row by row
        row = lower[i]
        row[:] = 0
        for k in range(i):
            factors[k] = upper[k, i]
        subtract_rows(row, factors, lower, i, i, 1)
        scale = 1 / upper[i, i]
        for j in range(i):
            row[j] *= scale
        row[i] = scale
    return True


@numba.njit(inline="always")
def _mirror(matrix):  # type: ignore[no-untyped-def]
    """Copies the lower triangle to the upper one, tile by tile."""
    size = len(matrix)
    for top in range(0, size, 16):
        for left in range(0, top + 1, 16):
            for i in range(top, min(top + 16, size)):
                for j in range(left, min(left + 16, i)):
                    matrix[j, i] = matrix[i, j]


@compiled
def _damped_mean(gram, count, damp, out):  # type: ignore[no-untyped-def]
    num_blocks, size, _ = gram.shape
    for b in numba.prange(num_blocks):
        for i in range(size):
            for j in range(i + 1):
                out[b, i, j] = gram[b, i, j] / count
            out[b, i, i] += damp
        _mirror(out[b])


@compiled
def _invert(matrix, out, failed):  # type: ignore[no-untyped-def]
    num_blocks, size, _ = matrix.shape
    identity = np.arange(size)
    for b in numba.prange(num_blocks):
        upper, lower = np.empty((size, size)), np.empty((size, size))
        row, factors = np.empty(size), np.empty(size)
        failed[b] = not _inverse_factor(matrix[b], identity, upper, lower, factors)
        if failed[b]:
            continue
        for i in range(size):  # M^T M
            row[:] = 0
            for k in range(i, size):
                factors[k - i] = -lower[k, i]
            subtract_rows(row, factors, lower[i:], size - i, i + 1, 0)
            for j in range(i + 1):
                out[b, i, j] = row[j]
        _mirror(out[b])


@compiled
def _factor(matrix, order, weight, packed, coefficients, failed):  # type: ignore[no-untyped-def]
    num_blocks, size, _ = matrix.shape
    for b in numba.prange(num_blocks):
        upper, lower, factors = np.empty((size, size)), np.empty((size, size)), np.empty(size)
        failed[b] = not _inverse_factor(matrix[b], order[b], upper, lower, factors)
        if failed[b]:
            continue
        for i in range(size):
            start = i * (i + 1) // 2
            for j in range(i + 1):
                packed[b, start + j] = lower[i, j]
            total = 0.0
            for j in range(i, size):
                total += upper[i, j] * weight[b, order[b, j]]
            coefficients[b, i] = total


@compiled
def _subtract_last_rows(weight, packed, coefficients, counts):  # type: ignore[no-untyped-def]
    num_blocks, size = weight.shape
    for b in numba.prange(num_blocks):
        for i in range(size - counts[b], size):
            start, factor = i * (i + 1) // 2, coefficients[b, i]
            for j in range(i + 1):
                weight[b, j] -= factor * packed[b, start + j]


@compiled
def _inverse_diagonal(packed, out):  # type: ignore[no-untyped-def]
    num_blocks, size = out.shape
    for b in numba.prange(num_blocks):
        for i in range(size):
            row = packed[b, i * (i + 1) // 2 :]
            for j in range(i + 1):
                out[b, j] += np.float64(row[j]) * row[j]


@compiled
def _multiply_inverse(packed, vector, out):  # type: ignore[no-untyped-def]
    num_blocks, size = vector.shape
    for b in numba.prange(num_blocks):
        for i in range(size):
            row = packed[b, i * (i + 1) // 2 :]
            product = 0.0
            for j in range(i + 1):
                product += row[j] * vector[b, j]
            for j in range(i + 1):
                out[b, j] += product * row[j]
