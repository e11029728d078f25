"""The inverse of one large Fisher block, from the few gradients that the block is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-6  # relative error of the inverse's diagonal that is put up with, in double precision
SINGLE_TOLERANCE = 1e-5  # the same of what is kept in single precision
ITERATIONS = 12  # of the power method, which finds a norm to within a few per cent


@dataclass(frozen=True)
class LowRankInverse:
    """The inverse of `F = damp I + G^T G / m`, with G (m, B) the gradients.

    With fewer gradients than weights `F^-1 = (I - V^T V) / damp` by the Woodbury identity, where `V = L^-1 G` and
    `L L^T = m damp I + G G^T` (Frantar, Kurtic and Alistarh, 2021, arXiv 2107.03356, section 3.1). The difference
    cancels where the gradients leave nothing of a weight's own direction, as they do with at least B of them: then
    `F^-1 = S S^T` with `S = sqrt(m) R^-1` and `R^T R = m damp I + G^T G`, in which nothing cancels. R is Cholesky's
    triangle, or where that system is too ill-conditioned the one of `[sqrt(m damp) I; G] = Q R`.

    Attributes:
        root: V, (m, B), or S with the largest entry of each row brought to 1, (B, B).
        scale: Largest entries of the rows of S, (B,), float64; None with V.
        damp: Dampening.
        error: Estimate of the largest relative error of the diagonal, or a bound that is small enough.
    """

    root: Tensor
    scale: Tensor | None
    damp: float
    error: float

    def diagonal(self) -> Tensor:
        """Returns the diagonal of F^-1: (B,), float64."""
        root = self.root.double()
        if self.scale is None:
            return (1 - root.square().sum(0)) / self.damp
        return root.square().sum(1) * self.scale.square()

    def times(self, vector: Tensor) -> Tensor:
        """Returns F^-1 v for v (B,), float64."""
        root = self.root.double()
        if self.scale is None:
            return (vector - root.T @ (root @ vector)) / self.damp
        return self.scale * (root @ (root.T @ (self.scale * vector)))

    def single(self) -> LowRankInverse | None:
        """Returns the same with the root in single precision, None if that is not accurate enough."""
        rounded = LowRankInverse(self.root.float(), self.scale, self.damp, self.error)
        if self.scale is None:  # a row of S keeps its own digits, a difference does not
            least = 1 - float(self.root.square().sum(0).amax())
            if torch.finfo(torch.float32).eps > SINGLE_TOLERANCE * least:
                return None
        return rounded


def invert_low_rank(gradients: Tensor, damp: float) -> LowRankInverse | None:
    """Inverts `damp I + G^T G / m` in double precision, in the cheapest of three ways that is accurate.

    Args:
        gradients: G, (m, B).
        damp: Dampening.

    Returns:
        The inverse, None if the gradients are so large beside the dampening that no way has six digits.
    """
    rows = gradients.double()
    ways = (_woodbury, _cholesky, _orthogonal) if len(rows) < rows.shape[1] else (_cholesky, _orthogonal)
    for way in ways:
        found = way(rows, damp)
        if found is not None and found.error <= TOLERANCE:
            return found
        del found  # before its room is needed
    return None


def _woodbury(rows: Tensor, damp: float) -> LowRankInverse | None:
    """Returns `(I - V^T V) / damp`, None if its system is not positive definite."""
    m = len(rows)
    norms = (
        rows.square().sum(1) + m * damp
    ).sqrt_()  # rows of one length: V is the same, the system better conditioned
    scaled = rows / norms[:, None]
    system = scaled @ scaled.T
    system.diagonal().add_(m * damp / norms.square())
    lower, info = torch.linalg.cholesky_ex(system)
    if int(info) or not bool(lower.diagonal().isfinite().all()):
        return None
    condition = _norm(lambda x: system @ x, m, rows) * _norm(lambda x: torch.cholesky_solve(x, lower), m, rows)
    root = torch.linalg.solve_triangular(lower, scaled, upper=False)
    least = 1 - float(root.square().sum(0).amax())
    error = condition * torch.finfo(torch.float64).eps / least if least > 0 else math.inf
    return LowRankInverse(root, None, damp, error)


def _cholesky(rows: Tensor, damp: float) -> LowRankInverse | None:
    """Returns `S S^T` from the sum of squares, None if that is not positive definite: a third of the other's time."""
    m = len(rows)
    norms = _lengths(rows, damp)
    scaled = rows / norms
    system = scaled.T @ scaled
    del scaled
    system.diagonal().add_(m * damp / norms.square())
    lower, info = torch.linalg.cholesky_ex(system)
    del system
    if int(info) or not bool(lower.diagonal().isfinite().all()):
        return None
    return _from_triangle(lower.T, norms, m, damp, power=2)


def _orthogonal(rows: Tensor, damp: float) -> LowRankInverse:
    """Returns `S S^T` without squares, the condition of which is that of the gradients squared."""
    m = len(rows)
    norms = _lengths(rows, damp)
    stacked = torch.cat([torch.diag_embed(math.sqrt(m * damp) / norms), rows / norms])
    upper = torch.linalg.qr(stacked, mode="r").R
    del stacked
    return _from_triangle(upper, norms, m, damp, power=1)


def _lengths(rows: Tensor, damp: float) -> Tensor:
    """Returns the lengths of the columns, with which they are brought to one: R is better conditioned then."""
    return (rows.square().sum(0) + len(rows) * damp).sqrt_()


def _from_triangle(upper: Tensor, norms: Tensor, m: int, damp: float, power: int) -> LowRankInverse:
    """Returns `S S^T` of columns of one length; the error rises with a power of the triangle's condition."""
    size = len(upper)
    identity = torch.eye(size, dtype=upper.dtype, device=upper.device)
    root = torch.linalg.solve_triangular(upper, identity, upper=True)
    eps = torch.finfo(torch.float64).eps
    error = float(torch.linalg.vector_norm(upper) * torch.linalg.vector_norm(root)) ** power * eps
    if not error <= TOLERANCE:  # Frobenius norms only bound the condition: its estimate decides
        condition = math.sqrt(
            _norm(lambda x: upper.T @ (upper @ x), size, upper) * _norm(lambda x: root @ (root.T @ x), size, upper)
        )
        error = condition**power * eps
    scale = root.abs().amax(1)
    root /= scale[:, None]
    return LowRankInverse(root, scale * (math.sqrt(m) / norms), damp, error if math.isfinite(error) else math.inf)


def _norm(times: Callable[[Tensor], Tensor], size: int, like: Tensor) -> float:
    """Returns the largest eigenvalue of a positive definite map of vectors (size, 1), by the power method."""
    start = torch.randn(size, 1, generator=torch.Generator().manual_seed(0), dtype=like.dtype)
    vector, norm = start.to(like.device), torch.ones((), dtype=like.dtype, device=like.device)
    for _ in range(ITERATIONS):
        vector = times(vector / vector.norm())
        norm = vector.norm()
    return float(norm)


def scratch_bytes(num_gradients: int, block_size: int) -> int:
    """Returns the most memory that inverting one block takes, the result included."""
    m, size = num_gradients, block_size
    return 8 * max(5 * m * size + 3 * m**2, 4 * m * size + 5 * size**2)
