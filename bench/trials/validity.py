"""Validity of a pruned model: whether its weights and masks are what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

import cap
from cap.selection import count_zeros

CHANCE = 1e-3  # fraction of all weights that may be kept and yet be zero: updates hit zero now and then


def find_invalid(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None,
    pattern: cap.Pattern,
    dense: Mapping[str, Tensor] | None = None,
) -> str | None:
    """Returns why a pruned model does not count as one at its pattern, None if it does.

    Args:
        weights: Weights as evaluated, {layer: weight}.
        masks: Keep-masks of the pruning, {layer: mask}; None where there are none, as while all weights are free.
        pattern: Pattern that was asked for.
        dense: Weights before the pruning, {layer: weight}, of a model that was not trained since; None for any other.
    """
    if found := find_not_finite(weights):
        return found
    total = sum(weight.numel() for weight in weights.values())
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    wanted = count_zeros({name: tuple(weight.shape) for name, weight in weights.items()}, pattern)
    miscount = (
        f"keeps {100 * (1 - zeros / total):.4g} % of the weights where {100 * (1 - wanted / total):.4g} % were wanted: "
        f"{zeros:,} zeros, wants {wanted:,}"
    )
    if zeros < wanted:
        return miscount
    if broken := cap.count_violations(weights, pattern):
        return f"{broken:,} weights break the pattern {pattern}"
    if masks is None:
        return None
    if found := _find_invalid_masks(weights, masks, pattern, wanted):
        return found
    if dense is not None:
        kept_zeros = sum(
            int(((weight == 0) & (dense[name] != 0) & masks[name].to(weight.device).bool()).sum())
            for name, weight in weights.items()
        )
        if kept_zeros > CHANCE * total:
            return miscount
    return None


def find_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Returns in which layer weights are not finite, None if all are."""
    for name, weight in weights.items():
        if bad := int((~torch.isfinite(weight)).sum()):
            return f"{bad:,} weights of {name} are not finite"
    return None


def _find_invalid_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], pattern: cap.Pattern, wanted: int
) -> str | None:
    """Returns what is wrong with masks, None if nothing is."""
    if missing := [name for name in weights if name not in masks]:
        return f"{len(missing)} of {len(weights)} layers have no mask: {missing[0]}"
    for name, weight in weights.items():
        if masks[name].shape != weight.shape:
            return f"the mask of {name} is {tuple(masks[name].shape)}, its weight {tuple(weight.shape)}"
    kept = {name: masks[name].to(weight.device).bool() for name, weight in weights.items()}
    if left := sum(int((weight[~kept[name]] != 0).sum()) for name, weight in weights.items()):
        return f"{left:,} weights are not zero where the mask removes them"
    removed = sum(int((~mask).sum()) for mask in kept.values())
    if removed != wanted:
        return f"the masks remove {removed:,} weights, wants {wanted:,}"
    if broken := cap.count_violations(kept, pattern):
        return f"the masks break the pattern {pattern} at {broken:,} weights"
    return None
