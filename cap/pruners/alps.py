"""ALPS, layer-wise pruning by the alternating direction method of multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cap.columns import as_columns, conjugate_gradients, dampened, from_columns
from cap.cost import FitSize
from cap.patterns import NM, Pattern
from cap.pruners._options import check_count, check_positive
from cap.pruners._sequential import SequentialPruner
from cap.registry import register
from cap.selection import keep_highest, keep_nm

CHECK_EVERY = 3  # iterations
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # of rho where more than this fraction of the support has changed
LARGEST_RHO = 1e6
SETTLED_AFTER, SETTLED = 30, 3e-4  # iterations, and the fraction of the support that may then still change


class Problem(NamedTuple):
    """Layer whose outputs are to be kept: `min 1/2 tr (B - B0) H (B - B0)^T`.

    Attributes:
        dense: B0, dense weights times `scale`, (groups, outputs of a group, columns), float64.
        hessian: H, dampened second moments over `scale scale^T`, (groups, columns, columns).
        scale: Roots of the dampened second moments' diagonal, (groups, 1, columns).
        values: L, eigenvalues of H, (groups, 1, columns).
        vectors: Q, eigenvectors of H, (groups, columns, columns).
    """

    dense: Tensor
    hessian: Tensor
    scale: Tensor
    values: Tensor
    vectors: Tensor


@register("alps")
class ALPS(SequentialPruner):
    """ADMM on the error of each layer's outputs (Meng et al., 2024, arXiv 2406.07831, Algorithms 1 and 2).

    The problem over B with k nonzeros in the layer, or N of M in each group, is split into B without the constraint and
    D with it, which a penalty rho pulls together; it grows as long as the support of D changes.

        B = (B0 H - V + rho D) Q (L + rho)^-1 Q^T,    D = keep(B + V / rho),    V = V + rho (B - D)

    On the support of keep(B) conjugate gradients then solve `B H = B0 H`.

    Args:
        damp: Dampening, relative to the mean of the second moments' diagonal.
        rho: Penalty at the start.
        iterations: Largest number of iterations.
        cg_steps: Number of steps of the conjugate gradients.
        sequential: Whether a layer's inputs are those of the model with the layers before it pruned, as published;
            `prune` then goes through the model anew for every pattern. Otherwise they are those of the dense model.
    """

    def __init__(
        self,
        damp: float = 0.01,
        rho: float = 0.1,
        iterations: int = 300,
        cg_steps: int = 10,
        sequential: bool = True,
    ) -> None:
        super().__init__(sequential)
        check_positive("damp", damp)
        check_positive("rho", rho)
        check_count("iterations", iterations)
        check_count("cg_steps", cg_steps)
        self.damp, self.rho, self.iterations, self.cg_steps = damp, rho, iterations, cg_steps

    def solve_work(self, size: FitSize) -> float:
        """Returns the work of all iterations, on layers taken to be as wide as high."""
        return 2 * self.iterations * size.weights * math.isqrt(size.largest_layer or size.weights)

    def prepare(self, weight: Tensor, moment: Tensor) -> Problem:
        """Returns the layer's problem; the eigenvectors are in double precision."""
        moment = dampened(moment, self.damp)
        scale = moment.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(1)
        hessian = moment / (scale * scale.transpose(1, 2))
        values, vectors = torch.linalg.eigh(hessian)
        return Problem(as_columns(weight, len(moment)) * scale, hessian, scale, values.unsqueeze(1), vectors)

    def solve(self, weight: Tensor, prepared: Problem, pattern: Pattern, removed: int) -> tuple[Tensor, Tensor]:
        """Returns the weight that B over the scale is, and its mask."""
        problem = prepared
        present = problem.dense != 0

        def keep(b: Tensor) -> Tensor:
            square = b.square().masked_fill(~present, -1)
            if isinstance(pattern, NM):
                return keep_nm(square.flatten(0, 1), pattern, "").view_as(square)
            return keep_highest(square, removed)

        mask, b = keep(problem.dense), problem.dense
        if (mask | ~present).all():  # nothing goes but zeros
            return weight.clone(), from_columns(mask, weight)
        b = admm(problem, lambda b: keep(b) & present, self.rho, self.iterations)
        mask = keep(b)
        b = conjugate_gradients(problem.dense, problem.hessian, b, mask & present, self.cg_steps)
        return from_columns(b / problem.scale, weight).to(weight.dtype), from_columns(mask, weight)


def admm(problem: Problem, keep: Callable[[Tensor], Tensor], rho: float, iterations: int) -> Tensor:
    """Returns B when the support of D changes no longer (Algorithm 1).

    Args:
        problem: Layer.
        keep: Function that returns the support, boolean, that is best for a B.
        rho: Penalty at the start.
        iterations: Largest number of iterations.
    """
    linear = problem.dense @ problem.hessian
    first = seen = keep(problem.dense)
    d, v, changes = problem.dense * first, torch.zeros_like(linear), 0
    for iteration in range(1, iterations + 1):
        b = (linear - v + rho * d) @ problem.vectors / (problem.values + rho) @ problem.vectors.transpose(1, 2)
        support = keep(b + v / rho)
        d = (b + v / rho) * support
        v = v + rho * (b - d)
        if iteration % CHECK_EVERY:
            continue
        change = int((support ^ seen).sum()) / max(1, int(first.sum()))
        seen, changes = support, changes + (change > 0)
        if changes == 0:  # the penalty holds the first support
            rho, d, v = rho / 5, problem.dense * first, torch.zeros_like(v)
        elif change == 0 or (iteration > SETTLED_AFTER and change < SETTLED):
            break
        else:
            rho = min(LARGEST_RHO, rho * next(factor for bound, factor in GROWTH if change > bound))
    return b
