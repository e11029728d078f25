"""SynFlow, iterative synaptic flow pruning."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from cap.calibration import Calibration
from cap.cost import FitSize, FitWork
from cap.inputs import Inputs
from cap.model_state import differentiable
from cap.patterns import NM, Pattern
from cap.pruned_weights import PrunedWeights
from cap.pruner import Needs, ScorePruner
from cap.pruners._options import check_count
from cap.registry import register
from cap.selection import select, with_zeros_lowest


@register("synflow")
class SynFlow(ScorePruner):
    """Synaptic flow (Tanaka et al., 2020, arXiv 2006.05467, Algorithm 1): a control that looks at no data.

    With every value of the model replaced by its absolute value and an input of ones, R is the sum of the outputs and
    the score of a weight `|dR/dw * w|`. A fraction s is removed in n steps, after step k of which `(1 - s)^(k/n)` of
    the weights stay; each step has scores of its own. Normalisation, softmax and activations stay as they are: where a
    model has them, the scores of a layer need not add up to R, which they do in the paper's rectified networks.

    Args:
        iterations: n, number of steps.
    """

    needs: ClassVar[Needs] = "nothing"
    monotone = False

    def __init__(self, iterations: int = 100) -> None:
        check_count("iterations", iterations)
        self.iterations = iterations

    def supports(self, pattern: Pattern) -> str | None:
        """A schedule of sparsities leads to a sparsity, not to N:M."""
        if isinstance(pattern, NM):
            return f"{pattern} cannot be reached by a schedule of sparsities: ask for {pattern.sparsity}"
        return None

    def work(self, size: FitSize) -> FitWork:
        """Returns the work of the steps, each a forward and backward pass of one image."""
        return FitWork(gradients=3 * size.macs * self.iterations)

    def scores(self, model: nn.Module, layers: Mapping[str, Tensor], calibration: Calibration) -> dict[str, Tensor]:
        """Returns the scores of the dense weights; those of the other steps come while pruning."""
        self.flow = copy.deepcopy(model).eval().double()  # products of many layers
        with torch.no_grad():
            for value in self.flow.state_dict().values():
                value.abs_()
        device = next(iter(layers.values())).device
        first = calibration.inputs[:1].to(device)
        self.ones = Inputs(
            tuple(ones_of(x) for x in first.positional), {name: ones_of(x) for name, x in first.keywords.items()}
        )
        return self._scores(layers)

    def _scores(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns `|dR/dw * w|`; 0 for weights that R does not depend on."""
        parameters = [self.flow.get_parameter(name) for name in weights]
        with torch.no_grad():
            for parameter, weight in zip(parameters, weights.values(), strict=True):
                parameter.copy_(weight.abs())
        gradients: Sequence[Tensor | None] = [None] * len(parameters)
        with differentiable(self.flow, parameters), torch.enable_grad():
            output = self.ones.run(self.flow)
            if not isinstance(output, Tensor):
                raise ValueError(f"SynFlow sums the model's output: a tensor, not {type(output).__name__}")
            total = output.sum()
            if total.requires_grad:
                gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        return {
            name: torch.zeros_like(weight) if gradient is None else (gradient * weight).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    def weights_at(self, pattern: Pattern) -> PrunedWeights:
        """Returns the pruned weights at a sparsity, reached in exponential steps."""
        assert not isinstance(pattern, NM)  # see supports
        weights = self.weights
        for step in range(1, self.iterations + 1):
            sparsity = 1 - (1 - pattern.sparsity) ** (step / self.iterations)
            reached = pattern if step == self.iterations else replace(pattern, sparsity=sparsity)
            masks = select(with_zeros_lowest(self._scores(weights), weights, reached), reached)
            weights = {name: weight * masks[name] for name, weight in weights.items()}
        return PrunedWeights(weights, masks)


def ones_of(x: Tensor) -> Tensor:
    """Returns ones in the shape of an input, in double precision; whole numbers, like indices, stay as they are."""
    return torch.ones_like(x, dtype=torch.float64) if x.is_floating_point() else x
