"""Checks of masks: their counts, their patterns, and how those at several sparsities go together."""

from __future__ import annotations

import itertools

import cap
from cap.testing.check import Check, check
from cap.testing.inspection import (
    SPARSITIES,
    NotApplicable,
    Violation,
    changed_names,
    check_followed,
    prune,
    supported_patterns,
)
from cap.testing.subject import PATTERNS, Subject
from cap.testing.tiny import PATTERN_LAYERS, tiny_layers, tiny_model


@check("exact count")
def as_many_zeros_as_asked_for(subject: Subject) -> None:
    """At sparsity s exactly round(s x weights) weights are masked: over all layers, or in each with `@layer`.

    Methods are compared at equal sparsity, and where a model collapses a tenth of a percent changes the result. The
    usual cause is a threshold of one's own in `select`, such as `score > ranked[k]`, which removes too many or too few
    where scores are equal. Return scores and leave the selection to the base class, or use `cap.selection.select`.
    """
    fitted = subject.fit()
    patterns = [cap.Unstructured(sparsity, scope) for scope in ("global", "layer") for sparsity in SPARSITIES]
    accepted = [pattern for pattern in patterns if fitted.pruner.supports(pattern) is None]
    for pattern in accepted or supported_patterns(fitted.pruner):
        check_followed(pattern, prune(fitted, pattern).masks)


@check("monotone masks")
def masks_are_monotone(subject: Subject) -> None:
    """A weight that is removed at one sparsity is removed at every higher one.

    Then a curve over sparsities is one path through nested sets of weights. It is so wherever weights are removed in
    the order of one score. If the method chooses anew at each sparsity on purpose, say so with `monotone = False` in
    the class, and this check is skipped; otherwise look for a `select` or `supports` that treats sparsities
    differently. Of a `cap.Pruner` that says nothing it is not asked.
    """
    fitted = subject.fit()
    if not fitted.pruner.monotone:
        raise NotApplicable("monotone = False")
    patterns = supported_patterns(fitted.pruner)
    masks = [prune(fitted, pattern).masks for pattern in patterns]
    for (low, lower), (high, higher) in itertools.pairwise(zip(patterns, masks, strict=True)):
        for name, mask in lower.items():
            if back := int((higher[name] & ~mask).sum()):
                raise Violation(f"{back} weights of {name} are removed at {low} and kept at {high}")


@check("any order")
def one_fit_serves_any_order(subject: Subject) -> None:
    """After one `fit`, `prune` gives the same at a sparsity, independent of what it was asked for before.

    One fit serves all sparsities of a curve, in any order. The usual cause of a difference is a `prune`, `select` or
    `update` that changes what `fit` stored, such as `self.weights[name] *= mask` or `scores[~mask] = 0`: operations
    with a trailing underscore and `*=`, `+=` and `[...] =` write in place. Write `weight = weight * mask` or clone
    first.
    """
    fitted = subject.fit()
    patterns = [pattern for pattern in supported_patterns(fitted.pruner) if pattern.sparsity]
    first = {pattern: prune(fitted, pattern) for pattern in patterns}
    for pattern in reversed(patterns):
        again = prune(fitted, pattern)
        changed = changed_names(first[pattern].weights, again.weights) + changed_names(
            first[pattern].masks, again.masks
        )
        if changed:
            raise Violation(f"{changed[0]} at {pattern} is not the same after pruning to other sparsities")


@check("sparsity 0")
def sparsity_zero_is_the_dense_model(subject: Subject) -> None:
    """At sparsity 0 nothing is masked and the weights are the dense ones, bit for bit.

    It is where every curve begins. The usual cause is an `update` that computes something even if no weight is removed
    (a rescaling or a correction that is not exactly 1 or 0 then), or a mask of one weight too many.
    """
    fitted = subject.fit()
    pruned = prune(fitted, supported_patterns(fitted.pruner, [0.0])[0])
    if pruned.sparsity:
        raise Violation(f"{pruned.sparsity:.3%} of the weights are masked")
    if changed := changed_names(tiny_layers(tiny_model()), pruned.weights):
        raise Violation(f"the weights of {', '.join(changed)} are not the dense ones")


@check("zeros stay")
def zeros_go_first_and_stay(subject: Subject) -> None:
    """Fitted to a model that it has pruned, and asked for more, the pruner keeps no weight that is zero already.

    Gradual pruning fits and prunes in turns: were a zero kept, it would come back to life and another weight go
    instead. The base class's `select` sees to it for any scores; the usual cause is a `select` or `weights_at` of
    the pruner's own that decides anew. Give zeros the lowest score there: `scores.masked_fill(weight == 0, -math.inf)`.
    """
    patterns = [pattern for pattern in supported_patterns(subject.fit().pruner) if pattern.sparsity]
    if len(patterns) < 2:
        raise NotApplicable("the pruner has no two sparsities to go through")
    model = tiny_model()
    layers = tiny_layers(model)
    for seed, pattern in enumerate(patterns):
        pruned = prune(subject.fit(model, seed=seed), pattern)
        for name, weight in layers.items():
            if kept := int((pruned.masks[name] & (weight == 0)).sum()):
                raise Violation(f"{kept} weights of {name} that are zero already are kept at {pattern}")
        pruned.apply_to(model)


def _pattern_check(pattern: cap.Pattern) -> Check:
    @check(f"pattern {pattern}")
    def a_pattern_is_followed_or_refused(subject: Subject) -> str | None:
        """The pattern is followed exactly, or `supports` gives a reason why not and `prune` raises it as a ValueError.

        A sweep asks `supports` and writes the reason into its results; what is not refused is taken for what it says.
        Scores alone are enough for every pattern, as `cap.ScorePruner` selects the weights. If the method cannot do
        one, let `supports(self, pattern)` return what to do instead, in words; if you override the `prune` of
        `cap.ScorePruner`, call `self.check(pattern)` first.
        """
        fitted = subject.fit(layers=PATTERN_LAYERS)
        reason = fitted.pruner.supports(pattern)
        if reason is None:
            check_followed(pattern, prune(fitted, pattern).masks)
            return None
        if not isinstance(reason, str) or not reason.strip():
            raise Violation(f"supports returned {reason!r} for {pattern}: it returns a reason in words, or None")
        if isinstance(fitted.pruner, cap.ScorePruner):  # it is used without a suite that asks `supports` first, too
            try:
                fitted.pruner.prune(pattern)
            except ValueError:
                return f"refused: {reason}"
            raise Violation(f"supports refuses {pattern}, but prune raises no ValueError")
        return f"refused: {reason}"

    return a_pattern_is_followed_or_refused


followed_or_refused = tuple(_pattern_check(pattern) for pattern in PATTERNS)
