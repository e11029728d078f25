"""CHITA and, in several stages, CHITA++."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cap.fisher.blocks import check_fisher
from cap.fisher.dampening import DampScale
from cap.fisher.factors import InverseFactor
from cap.patterns import Pattern
from cap.pruners._fisher_based import FisherPruner, jointly_updated
from cap.pruners._options import check_count
from cap.registry import register
from cap.selection import select, with_zeros_lowest

GROWTH = 1.5  # of a step that may be too short: where nothing interacts, twice the step undoes what it gains
LENGTHS = 48  # of one step that are tried, at most
LEAST_GAIN = 1e-6  # relative fall of the objective below which a step is the last one


@register("chita")
class CHITA(FisherPruner):
    """Pruning as sparse least squares (Benbaki et al., 2023, arXiv 2302.14623).

    With the n gradients as the rows of A, w0 the dense weights and `b = A w0`,

        min_w  1/(2n) |b - A w|^2 + lambda/2 |w - w0|^2   with at most k weights that are not zero.

    This is `1/2 (w - w0)^T F (w - w0)`, the objective of CAP, with F the Fisher and lambda its dampening, here on
    diagonal blocks of B consecutive weights. The support is that of iterative hard thresholding from the largest
    weights, over all blocks and layers together; then a back-solve puts the weights of every block to the minimum on
    that support, `w_S = (A_S^T A_S + n lambda I)^-1 (A_S^T b + n lambda w0_S)`. That is the joint OBS update of what
    was removed, which is how it is computed. F is kept as the factors of its inverse: less than the gradients take,
    if B < 2 n.

    Args:
        block_size: B, number of consecutive weights in one Fisher block.
        num_gradients: n, number of gradients; by default one per calibration image.
        damp: lambda, which is the dampening of the Fisher, for an objective that is divided by n.
        iterations: Most steps of iterative hard thresholding.
        stages: Number of stages on a polynomial schedule of sparsities, with gradients of the weights pruned so far in
            each; with several this is CHITA++.
        damp_scale: Unit of the dampening: `absolute`; `relative` for the mean of the Fisher's diagonal over all pruned
            weights; `noise` for `tr(F_b) / sqrt(m)` in each block (RobOP).
        fresh_gradients: Whether each part takes its gradients from other calibration images than those before it.
        reconstruction: mu, weight of the layer-wise objective that is mixed into the Fisher (MOONSHOT); 0 for none.
    """

    parts_option = "stages"
    can_rebuild = False  # each step multiplies by F

    def __init__(
        self,
        block_size: int = 500,
        num_gradients: int | None = None,
        damp: float = 1e-5,
        iterations: int = 10,
        stages: int = 1,
        damp_scale: DampScale = "absolute",
        fresh_gradients: bool = False,
        reconstruction: float = 0.0,
    ) -> None:
        check_count("stages", stages)
        check_count("iterations", iterations)
        super().__init__(
            block_size, num_gradients, damp, stages, "polynomial", damp_scale, fresh_gradients, reconstruction
        )
        self.iterations, self.stages = iterations, stages
        self.monotone = False  # the support at one sparsity says nothing of that at another

    @property
    def updates_jointly(self) -> bool:
        """The back-solve of each stage is the joint update."""
        return True

    def solve(self, weight: Tensor, fisher: Tensor, factor: InverseFactor, part: slice) -> Tensor:
        """Returns `|w|`, by which the first support is chosen."""
        check_fisher(factor.fill(part, fisher, weight), self.damp)
        return weight.double().abs()

    def select(self, pattern: Pattern) -> dict[str, Tensor]:
        """Returns the support that iterative hard thresholding arrives at."""
        sizes = [weight.numel() for weight in self.weights.values()]

        def layers_of(flat: Tensor) -> dict[str, Tensor]:
            pieces = zip(self.weights.items(), flat.split(sizes), strict=True)
            return {name: piece.view(weight.shape) for (name, weight), piece in pieces}

        def fisher_times(flat: Tensor) -> Tensor:
            return torch.cat([self.fisher_times(name, vector).flatten() for name, vector in layers_of(flat).items()])

        def largest(flat: Tensor) -> Tensor:
            masks = select(with_zeros_lowest(layers_of(flat.square()), self.weights, pattern), pattern)
            return torch.cat([mask.flatten() for mask in masks.values()])

        dense = torch.cat([weight.double().flatten() for weight in self.weights.values()])
        weights, _ = iterative_hard_thresholding(dense, fisher_times, largest, self.iterations)
        return {name: mask.clone() for name, mask in layers_of(largest(weights)).items()}

    def updated_blocks(self, weight: Tensor, keep: Tensor, factor: InverseFactor) -> Tensor:
        """Returns the minimum of the objective on the support: the back-solve."""
        return jointly_updated(weight, keep, factor)


def iterative_hard_thresholding(
    dense: Tensor, fisher_times: Callable[[Tensor], Tensor], largest: Callable[[Tensor], Tensor], iterations: int
) -> tuple[Tensor, list[float]]:
    """Minimises `Q(w) = 1/2 (w - w0)^T F (w - w0)` over sparse w by projected gradient steps, each the best of a line.

    A step is first the exact minimum along the gradient g on the present support, `|g_S|^2 / (g_S^T F g_S)`; from there
    it grows until the projection of `w - step g` onto the sparse weights has another support, and on as long as that
    lowers Q.

    Args:
        dense: w0, (weights,), float64.
        fisher_times: Function that returns F v for v (weights,).
        largest: Function that returns the keep-mask of the largest weights in square, as the pattern has it.
        iterations: Most steps.

    Returns:
        Weights, (weights,), sparse; and Q before the first and after every step, which never rises.
    """
    keep = largest(dense)
    w = dense * keep
    gradient = fisher_times(w - dense)
    losses = [float((w - dense) @ gradient) / 2]
    for _ in range(iterations):
        along = gradient * keep
        if not along.any():  # w is the best of its support, and any step will do to leave it
            along = gradient
        product = fisher_times(along)
        curvature = float(along @ product)
        if not curvature > 0:
            break
        step = float(along @ along) / curvature
        inside = (w - step * along) * keep
        slope = gradient - step * product if along is not gradient else gradient
        best = (float((inside - dense) @ slope) / 2, keep, inside, slope)
        for power in range(LENGTHS):
            moved = w - GROWTH**power * step * gradient
            support = largest(moved)
            if support.equal(keep):
                continue
            candidate = moved * support
            slope = fisher_times(candidate - dense)
            loss = float((candidate - dense) @ slope) / 2
            if not loss < best[0]:
                break
            best = (loss, support, candidate, slope)
        if not best[0] < losses[-1]:
            break
        loss, keep, w, gradient = best
        losses.append(loss)
        if losses[-2] - loss < LEAST_GAIN * losses[-2]:
            break
    return w, losses
