"""Inspection of what a pruner returns and leaves behind; a violation says what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import cap
from cap.pruned_weights import check_form, check_names
from cap.selection import layer_counts

SPARSITIES = (0.0, 0.1, 0.5, 0.75, 0.9, 0.98)


class Violation(Exception):  # noqa: N818  a finding, of which nothing else comes
    """Finding of a check that the pruner breaks; the message says what was found."""


class NotApplicable(Exception):  # noqa: N818  likewise
    """Reason why a check says nothing about this pruner."""


@dataclass(frozen=True)
class Fitted:
    """A fitted pruner.

    Attributes:
        pruner: The pruner.
        layers: Dense weights that it was fitted to, {name: weight}, copies that nobody changes.
    """

    pruner: cap.Pruner
    layers: dict[str, Tensor]


def check_scores(pruner: cap.ScorePruner, layers: Mapping[str, Tensor]) -> None:
    """Refuses scores that are not one number, finite or +inf, for each weight of the layers."""
    scores = getattr(pruner, "importance", None)
    if not isinstance(scores, Mapping):
        raise Violation(f"scores returned {type(scores).__name__}, not a dictionary of tensors by layer")
    with _violations():
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


def prune(fitted: Fitted, pattern: cap.Pattern) -> cap.PrunedWeights:
    """Returns a copy of the pruned weights; refuses a wrong form, so that no check stumbles over it."""
    pruned = fitted.pruner.prune(pattern)
    with _violations():
        check_form(pruned, fitted.layers, pattern)
    for name, weight in pruned.weights.items():
        if not weight.isfinite().all():
            raise Violation(f"weights of {name} at {pattern} are not finite")
    weights, masks = (
        {name: tensor.detach().clone() for name, tensor in tensors.items()}  # the pruner may write into its own again
        for tensors in (pruned.weights, pruned.masks)
    )
    return cap.PrunedWeights(weights, masks)


@contextmanager
def _violations() -> Iterator[None]:
    """Turns what this package refuses into findings."""
    try:
        yield
    except ValueError as error:
        raise Violation(str(error)) from None


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
