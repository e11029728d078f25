"""Structured pruning within a trial: the smaller model that is left, and unstructured pruning on top of it."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import cap
from bench.core.packages import require
from bench.core.timing import seconds_since
from bench.evaluation.macs import count_macs
from bench.latency.rounds import interleave
from bench.trials.validity import find_not_finite
from cap.structured import UnitGroup, cut, find_units, removed_units, unit_violations
from cap.structured.selection import unit_masks

EXTRA = "structured"
BATCH = 64  # images of a timed pass, as in the paper's measurements of speed
SECONDS = 2.0  # that the rounds of one comparison take
TOLERANCE = 1e-4  # of the largest output; the two models sum in another order


@dataclass(frozen=True)
class CutModel:
    """The smaller model without the removed units, beside the one with zeros in their place.

    Attributes:
        parameters: Number of its parameters.
        macs: Multiply-adds of its forward pass for one image.
        deviation: Largest difference of its outputs, relative to the largest output.
        seconds: Median time of its forward pass of BATCH images, seconds.
        dense_seconds: The same of the dense model, timed in turn with it.
    """

    parameters: int
    macs: int
    deviation: float
    seconds: float
    dense_seconds: float


def check_installed() -> None:
    """Makes sure that there is what structured pruning needs.

    Raises:
        UserError: If there is not.
    """
    require(["torch_pruning"], EXTRA, "a pattern of units")


def has_units(pattern: cap.Pattern) -> bool:
    """Returns whether a pattern removes units."""
    return isinstance(pattern, cap.Units | cap.UnitsThen)


def units_for(
    patterns: tuple[cap.Pattern, ...], model: nn.Module, layers: dict[str, nn.Parameter], image: Tensor
) -> tuple[UnitGroup, ...]:
    """Returns the units of a model where one of the patterns removes units, else none.

    Raises:
        ValueError: If the model has none.
    """
    return find_units(model, layers, image) if any(map(has_units, patterns)) else ()


def cut_zeros(model: nn.Module, units: tuple[UnitGroup, ...], image: Tensor) -> nn.Module:
    """Returns the smaller model without the units whose weights are all zero."""
    weights = {part.parameter: model.get_parameter(part.parameter) for group in units for part in group.parts}
    return cut(model, units, removed_units(units, weights), image)


def measure_cut(model: nn.Module, dense: nn.Module, units: tuple[UnitGroup, ...], image: Tensor) -> CutModel:
    """Cuts a model, compares its outputs with those before, and times it against the dense model.

    Args:
        model: Pruned model, with zeros in place of the removed units.
        dense: Dense model.
        units: Units of the model.
        image: Single input, (1, channels, height, width), on the models' device.

    Raises:
        RuntimeError: If the smaller model gives other outputs.
    """
    small = cut_zeros(model, units, image).eval()
    images = torch.randn(BATCH, *image.shape[1:], generator=torch.Generator().manual_seed(0)).to(image.device)
    with torch.inference_mode():
        expected, found = model.eval()(images), small(images)
    deviation = float((found - expected).abs().max() / expected.abs().max())
    if not deviation <= TOLERANCE:
        raise RuntimeError(f"the cut model's outputs differ by {deviation:.3g} of the largest from those with zeros")

    @torch.inference_mode()
    def run(which: nn.Module) -> None:
        which(images)
        seconds_since(0.0, str(image.device))  # waits for the device

    run(dense.eval())
    times = interleave({"dense": lambda: run(dense), "small": lambda: run(small)}, SECONDS)
    return CutModel(
        parameters=sum(parameter.numel() for parameter in small.parameters()),
        macs=count_macs(small, (), image).total,
        deviation=deviation,
        seconds=statistics.median(times["small"]),
        dense_seconds=statistics.median(times["dense"]),
    )


def find_invalid_units(
    units: tuple[UnitGroup, ...],
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None,
    pattern: cap.Units | cap.UnitsThen,
) -> str | None:
    """Returns why a pruned model does not count as one at a pattern of units, None if it does.

    Args:
        units: Units of the model.
        weights: Weights as evaluated, {layer: weight}.
        masks: Keep-masks of the pruning, {layer: mask}; None where there are none.
        pattern: Pattern that was asked for.
    """
    if found := find_not_finite(weights):
        return found
    for name, weight in weights.items():
        if masks is not None and (left := int((weight[~masks[name].to(weight.device)] != 0).sum())):
            return f"{left:,} weights of {name} are not zero where the mask removes them"
    for what, tensors in (("weights", weights), ("masks", masks)):
        if tensors is not None and (broken := unit_violations(units, tensors, pattern)):
            return f"the {what} break the pattern {pattern} by {broken:,} weights"
    return None


def merge_steps(first: cap.PrunedWeights, units: tuple[UnitGroup, ...], second: cap.PrunedWeights) -> cap.PrunedWeights:
    """Returns two steps of pruning as one, in the shapes of the dense model.

    Args:
        first: Weights without units, zeros in their place.
        units: Units of the dense model.
        second: Weights of the smaller model, pruned further.
    """
    present = unit_masks(units, first.weights, removed_units(units, first.weights))
    weights, masks = copy.copy(first.weights), copy.copy(first.masks)
    for name, keep in present.items():
        weights[name] = torch.zeros_like(first.weights[name])
        weights[name][keep] = second.weights[name].flatten()  # what stays is a grid, in the same order
        masks[name] = torch.zeros_like(keep)
        masks[name][keep] = second.masks[name].flatten()
    return cap.PrunedWeights(weights, masks)
