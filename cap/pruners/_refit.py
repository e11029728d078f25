"""The Newton steps of SNOWS: one layer's weight, for the outputs of the operations that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cap.inputs import Inputs
from cap.model_state import differentiable
from cap.operations import outputs

DAMP, TOLERANCE = 1e-4, 5e-4  # of the Newton system; of its residual, relative to the gradient
SHRINK, DECREASE, SMALLEST_STEP = 0.9, 1e-5, 0.1  # Armijo's rule


class Refit:
    """Refit of one layer of a sparse model, whose weight is changed in place.

    Args:
        dense: Dense model.
        sparse: Sparse model.
        name: Name of the weight.
        names: Names of the operations whose outputs are compared.
        images: Images of the Newton steps.
        held_out: Images that tell the length of a step.
    """

    def __init__(
        self,
        dense: nn.Module,
        sparse: nn.Module,
        name: str,
        names: Sequence[str],
        images: Inputs,
        held_out: Inputs,
    ) -> None:
        self.sparse, self.weight, self.names = sparse, sparse.get_parameter(name), names
        with torch.no_grad():
            self.fit, self.test = ((part, outputs(dense, names, part)) for part in (images, held_out))

    def run(self, mask: Tensor, passes: int, cg_steps: int) -> None:
        """Takes Newton steps within a mask until one is short.

        Args:
            mask: Weights that may change, boolean.
            passes: Largest number of Newton steps.
            cg_steps: Largest number of steps of the conjugate gradients.
        """
        for _ in range(passes):
            with differentiable(self.sparse, [self.weight]), torch.enable_grad():
                residuals = [one for one in self._residuals(*self.fit) if one.requires_grad]
                if not residuals:
                    return
                gradient = self._pulled_back(residuals, [one.detach() for one in residuals]) * mask
                product = self._gauss_newton(residuals)
                direction = conjugate_gradients(product, mask, -gradient, cg_steps)
            if self._step(direction, float((gradient * direction).sum())) < SMALLEST_STEP:
                return

    def _residuals(self, images: Inputs, targets: Sequence[Tensor]) -> list[Tensor]:
        """Returns r with `f = |r|^2 / 2`: differences to the dense outputs, one tensor an operation."""
        found = outputs(self.sparse, self.names, images)
        return [(ours - dense) * (2 / dense.numel()) ** 0.5 for ours, dense in zip(found, targets, strict=True)]

    def _pulled_back(self, residuals: Sequence[Tensor], v: Sequence[Tensor], create_graph: bool = False) -> Tensor:
        """Returns `J^T v`."""
        return torch.autograd.grad(residuals, self.weight, v, retain_graph=True, create_graph=create_graph)[0]

    def _gauss_newton(self, residuals: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
        """Returns the product with `J^T J`; J v is the derivative of `u -> J^T u`, which is linear, in reverse."""
        u = [torch.zeros_like(one, requires_grad=True) for one in residuals]
        pulled_back = self._pulled_back(residuals, u, create_graph=True)
        return lambda v: self._pulled_back(residuals, torch.autograd.grad(pulled_back, u, v, retain_graph=True))

    @torch.no_grad()
    def _step(self, direction: Tensor, slope: float) -> float:
        """Moves the weight along a direction as far as Armijo's rule allows, and returns how far.

        Args:
            direction: Direction, in the weight's shape.
            slope: Derivative of f along the direction.
        """
        start, before = self.weight.clone(), self._loss()
        step = 1.0
        while step >= SMALLEST_STEP and slope < 0:
            self.weight.copy_(start + step * direction)
            if self._loss() <= before + DECREASE * step * slope:
                return step
            step *= SHRINK
        self.weight.copy_(start)
        return 0.0

    def _loss(self) -> float:
        """Returns f on the held-out images."""
        return sum(float(one.double().square().sum()) for one in self._residuals(*self.test)) / 2


def conjugate_gradients(product: Callable[[Tensor], Tensor], mask: Tensor, right: Tensor, steps: int) -> Tensor:
    """Returns x within a mask with `product(x) + DAMP x = right` there, after some steps or at a small residual.

    Args:
        product: Product with a positive semidefinite matrix.
        mask: Entries that may differ from zero, boolean.
        right: Right-hand side, zero outside the mask.
        steps: Largest number of steps.
    """
    x, residual = torch.zeros_like(right), right
    direction, square = residual, residual.square().sum()
    for _ in range(steps):
        if square <= TOLERANCE**2 * right.square().sum():
            break
        image = (product(direction) + DAMP * direction) * mask
        length = square / (direction * image).sum()
        x, residual = x + length * direction, residual - length * image
        before, square = square, residual.square().sum()
        direction = residual + square / before * direction
    return x
