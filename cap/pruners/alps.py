"""ALPS, layer-wise pruning by the alternating direction method of multipliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.columns import as_columns, dampened, from_columns, second_moments
from cap.cost import FitSize, FitWork
from cap.patterns import NM, Pattern, Unstructured
from cap.pruner import PrunedWeights
from cap.pruners._layerwise import LayerwisePruner
from cap.pruners._options import check_count, check_positive
from cap.registry import register
from cap.selection import check_groups, keep_highest, keep_nm, layer_counts

CHECK_EVERY = 3  # iterations
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # of rho where more than this fraction of the support has changed
LARGEST_RHO = 1e6
SETTLED_AFTER, SETTLED = 30, 3e-4  # iterations, and the fraction of the support that may then still change
TOLERANCE = 1e-4  # of the conjugate gradients' residual


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
class ALPS(LayerwisePruner):
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
    """

    monotone = False

    def __init__(self, damp: float = 0.01, rho: float = 0.1, iterations: int = 300, cg_steps: int = 10) -> None:
        check_positive("damp", damp)
        check_positive("rho", rho)
        check_count("iterations", iterations)
        check_count("cg_steps", cg_steps)
        self.damp, self.rho, self.iterations, self.cg_steps = damp, rho, iterations, cg_steps

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of second moments, and of the iterations on columns as many as a square layer's."""
        columns = size.weights**0.5
        return replace(super().work(size), solve=2 * self.iterations * size.weights * columns)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns `B0^2`, by which the first D is chosen."""
        self.problems = {
            name: normalised(layers[name], moment, self.damp)
            for name, moment in second_moments(model, layers, calibration).items()
        }
        return {name: from_columns(self.problems[name].dense.square(), weight) for name, weight in layers.items()}

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a pattern; weights that are zero already stay so."""
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        removed = layer_counts(shapes, pattern) if isinstance(pattern, Unstructured) else dict.fromkeys(shapes, 0)
        weights, masks = {}, {}
        for name, weight in self.weights.items():
            check_groups(weight, pattern.of if isinstance(pattern, NM) else 1, name)
            columns, mask = self._solve(self.problems[name], pattern, removed[name], name)
            masks[name] = from_columns(mask, weight)
            weights[name] = from_columns(columns, weight).to(weight.dtype)
        return PrunedWeights(weights, masks)

    def _solve(self, problem: Problem, pattern: Pattern, removed: int, name: str) -> tuple[Tensor, Tensor]:
        """Returns weights and keep-mask of a layer as columns."""
        present = problem.dense != 0

        def keep(b: Tensor) -> Tensor:
            square = b.square().masked_fill(~present, -1)
            if isinstance(pattern, NM):
                return keep_nm(square.flatten(0, 1), pattern, name).view_as(square)
            return keep_highest(square, removed)

        mask, b = keep(problem.dense), problem.dense
        if not mask.logical_or(~present).all():
            b = admm(problem, lambda b: keep(b) & present, self.rho, self.iterations)
            mask = keep(b)
            b = conjugate_gradients(problem, b, mask & present, self.cg_steps)
        return b / problem.scale, mask


def normalised(weight: Tensor, moment: Tensor, damp: float) -> Problem:
    """Returns a layer's problem; the eigenvectors are in double precision.

    Args:
        weight: Weight of the layer.
        moment: Second moments of its inputs, (groups, columns, columns), float64.
        damp: Dampening, relative to the mean of the diagonal.
    """
    moment = dampened(moment, damp)
    scale = moment.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(1)
    hessian = moment / (scale * scale.transpose(1, 2))
    values, vectors = torch.linalg.eigh(hessian)
    return Problem(as_columns(weight, len(moment)) * scale, hessian, scale, values.unsqueeze(1), vectors)


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


def conjugate_gradients(problem: Problem, b: Tensor, support: Tensor, steps: int) -> Tensor:
    """Returns the solution of `B H = B0 H` on a support, of each output by itself (Algorithm 2).

    Args:
        problem: Layer.
        b: Start; what lies outside the support is not used.
        support: Entries that may differ from zero, boolean.
        steps: Largest number of steps.
    """
    linear = problem.dense @ problem.hessian * support
    b = b * support
    residual = linear - b @ problem.hessian * support
    direction, square = residual, residual.square().sum(2, keepdim=True)
    for _ in range(steps):
        if square.sum() <= TOLERANCE**2 * linear.square().sum():
            break
        image = direction @ problem.hessian * support
        curvature = (direction * image).sum(2, keepdim=True)
        step = square / curvature.clamp(min=torch.finfo(curvature.dtype).tiny)  # 0 for outputs that are solved
        b, residual = b + step * direction, residual - step * image
        before, square = square, residual.square().sum(2, keepdim=True)
        direction = residual + square / before.clamp(min=torch.finfo(before.dtype).tiny) * direction
    return b
