"""Inspection of what a pruner returns and leaves behind; a violation says what was found."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

import cap
from cap.selection import layer_counts

SPARSITIES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.98)


class Violation(Exception):  # noqa: N818  a finding, of which nothing else comes
    """Finding of a check that the pruner breaks; the message says what was found."""


class NotApplicable(Exception):  # noqa: N818  likewise
    """Reason why a check says nothing about this pruner."""


def check_scores(pruner: cap.Pruner, layers: Mapping[str, Tensor]) -> None:
    """Refuses scores that are not one number, finite or +inf, for each weight of the layers."""
    scores = getattr(pruner, "importance", None)
    if not isinstance(scores, Mapping):
        raise Violation(f"scores returned {type(scores).__name__}, not a dictionary of tensors by layer")
    check_names("scores", scores, layers)
    for name, weight in layers.items():
        score = scores[name]
        if not isinstance(score, Tensor):
            raise Violation(f"the scores of {name} are {type(score).__name__}, not a tensor")
        if score.shape != weight.shape:
            raise Violation(f"the scores of {name} have shape {tuple(score.shape)}, its weight {tuple(weight.shape)}")
        if torch.isnan(score).any():
            raise Violation(f"{int(torch.isnan(score).sum())} of {score.numel()} scores of {name} are NaN")
        if torch.isneginf(score).any():
            raise Violation(f"{int(torch.isneginf(score).sum())} of {score.numel()} scores of {name} are -inf")


def check_names(what: str, found: Iterable[str], layers: Iterable[str]) -> None:
    """Refuses names that are not those of the layers.

    Args:
        what: Name of what has them, for the message.
        found: Names that were found.
        layers: Names that were asked for.
    """
    if missing := set(layers) - set(found):
        raise Violation(f"{what}: no {', '.join(sorted(missing))}")
    if stray := set(found) - set(layers):
        raise Violation(f"{what}: {', '.join(sorted(map(str, stray)))} is no layer that was asked for")


def prune(pruner: cap.Pruner, pattern: cap.Pattern) -> cap.PrunedWeights:
    """Returns a copy of the pruned weights; refuses a wrong form, so that no check stumbles over it."""
    pruned = pruner.prune(pattern)
    if not isinstance(pruned, cap.PrunedWeights):
        raise Violation(f"prune returned {type(pruned).__name__}, not cap.PrunedWeights")
    for what, tensors in (("weights", pruned.weights), ("masks", pruned.masks)):
        if not isinstance(tensors, Mapping):
            raise Violation(f"at {pattern} the {what} are {type(tensors).__name__}, not a dictionary by layer")
        check_names(f"{what} at {pattern}", tensors, pruner.weights)
    for name, dense in pruner.weights.items():
        weight, mask = pruned.weights[name], pruned.masks[name]
        if weight.shape != dense.shape or mask.shape != dense.shape:
            raise Violation(
                f"{name} has shape {tuple(dense.shape)}, but at {pattern} its weights {tuple(weight.shape)} "
                f"and its mask {tuple(mask.shape)}"
            )
        if mask.dtype != torch.bool:
            raise Violation(f"the mask of {name} at {pattern} is {mask.dtype}, not torch.bool")
        if weight.dtype != dense.dtype:
            raise Violation(f"the weights of {name} at {pattern} are {weight.dtype}, not {dense.dtype}")
        if left := int((weight[~mask] != 0).sum()):
            raise Violation(f"{left} weights of {name} are not zero at {pattern} although their mask is False")
        if not weight.isfinite().all():
            raise Violation(f"weights of {name} at {pattern} are not finite")
    return copy.deepcopy(pruned)  # the pruner may write into its own again


def supported_patterns(pruner: cap.Pruner, sparsities: Iterable[float] = SPARSITIES) -> list[cap.Unstructured]:
    """Returns unstructured patterns of one scope: all layers ranked together, or each alone if that is refused.

    Raises:
        NotApplicable: If none is supported.
    """
    reason: str | None = ""
    for scope in ("global", "layer"):
        patterns = [cap.Unstructured(sparsity, scope) for sparsity in sparsities]
        if accepted := [pattern for pattern in patterns if pruner.supports(pattern) is None]:
            return accepted
        reason = pruner.supports(patterns[0])
    raise NotApplicable(f"refused: {reason}")


def changed_names(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Returns the names whose tensors differ."""
    return [name for name, value in before.items() if not value.equal(after[name])]


def model_traces(model: nn.Module) -> dict[str, dict[str, object]]:
    """Returns what a pruner could leave behind in a model beside other values: {what: {of which: state}}."""
    modules = {name or "the model": module for name, module in model.named_modules()}
    parameters = dict(model.named_parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "the training mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in parameters.items()},
        ".grad": {name: None if p.grad is None else p.grad.tolist() for name, p in parameters.items()},
        "the hooks": {name: [list(getattr(module, kind)) for kind in hooks] for name, module in modules.items()},
    }


def check_followed(pattern: cap.Pattern, masks: Mapping[str, Tensor]) -> None:
    """Refuses masks that do not follow a pattern; for N:M those of layers without kernels."""
    removed = {name: int((~mask).sum()) for name, mask in masks.items()}
    sizes = {name: mask.numel() for name, mask in masks.items()}
    if isinstance(pattern, cap.NM):
        for name, mask in masks.items():
            if wrong := int((mask.reshape(-1, pattern.of).sum(1) != pattern.keep).sum()):
                raise Violation(f"{wrong} groups of {name} do not keep {pattern.keep} of {pattern.of} weights")
        return
    if isinstance(pattern, cap.Blocks):
        for name, mask in masks.items():
            blocks = mask.reshape(-1, pattern.size)
            if wrong := int((blocks.any(1) & ~blocks.all(1)).sum()):
                raise Violation(f"{wrong} blocks of {name} are masked in part")
        wanted = {"all layers": round(pattern.sparsity * sum(sizes.values()) / pattern.size) * pattern.size}
    elif isinstance(pattern, cap.Unstructured) and pattern.scope != "global":
        wanted = layer_counts({name: tuple(mask.shape) for name, mask in masks.items()}, pattern)
    else:
        wanted = {"all layers": round(pattern.sparsity * sum(sizes.values()))}
    removed["all layers"] = sum(removed.values())
    for name, count in wanted.items():
        if removed[name] != count:
            raise Violation(f"at {pattern} {removed[name]} weights of {name} are masked, not {count}")
