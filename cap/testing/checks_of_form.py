"""Checks of the class, and of the form of what it returns."""

from __future__ import annotations

import inspect
import json

import cap
from cap.registry import variadic_options
from cap.testing.check import check
from cap.testing.inspection import NotApplicable, Violation, changed_names, prune
from cap.testing.subject import Subject
from cap.testing.tiny import tiny_model


@check("options", gate=True)
def options_have_defaults(subject: Subject) -> None:
    """Every option has a default value that can be written as JSON, and the pruner can be made with these.

    Sweeps and the command line make a pruner by its name and record all of its options, defaults included, because the
    identity of a result is the hash of all its values. Usual causes are an option without a default, `*args` or
    `**kwargs` in `__init__`, or a default such as a tensor or a function. Write each option out as a keyword with a
    number, text, truth value, None or a list of these: `def __init__(self, power=1.0)`.
    """
    if written := variadic_options(subject.name):
        raise Violation(f"__init__ takes {' and '.join(written)}, behind which no option has a name or a default")
    for name, value in cap.default_options(subject.name).items():
        if value is inspect.Parameter.empty:
            raise Violation(f"option {name} of __init__ has no default value")
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise Violation(f"the default of option {name}, {value!r}, cannot be written as JSON") from None
    cap.create(subject.name, **subject.options)


@check("docstring")
def class_says_what_it_does(subject: Subject) -> None:
    """The class has a docstring; that of a pruner of this package names its paper by arXiv number.

    Readers of a table want to know what a name in it stands for. Without one the check is skipped for pruners of your
    own. Write a line under `class ...:` that says what the score is, and where it is from.
    """
    kind = type(subject.create())
    if kind.__module__.startswith("cap."):
        if "arXiv" not in (kind.__doc__ or ""):
            raise Violation(f"the docstring of {kind.__name__} does not name its source (arXiv ...)")
    elif not kind.__doc__:
        raise NotApplicable(f"{kind.__name__} has none; a line that says what the score is helps readers")


@check("scores", gate=True)
def scores_cover_every_layer(subject: Subject) -> None:
    """`fit` works, and `scores` returns one number for every weight: finite or +inf (never to be removed), never NaN.

    The weights to remove are those of the lowest scores, so each layer that was asked for needs a tensor of its
    weight's own shape, and NaN has no rank. Gradients come flat, as (gradients, weights): the usual cause of a wrong
    shape is a missing `.view_as(weight)`, that of NaN a division by a sum, norm or variance that is zero, as for an
    input that is always zero. Add a small constant or clamp the divisor. An option whose value does not fit the 48
    calibration images of this check is another cause. A `cap.Pruner`, which has `fit` and `prune` alone, is not asked.
    """
    fitted = subject.fit()
    if not isinstance(fitted.pruner, cap.ScorePruner):
        raise NotApplicable("a cap.Pruner of fit and prune gives no scores")


@check("pruned weights", gate=True)
def only_the_chosen_weights_change(subject: Subject) -> None:
    """`prune` returns weights and masks for exactly the layers asked for, in their shapes, zero where masked.

    Accuracy is measured with the weights, sparsity is counted from zeros, and fine-tuning holds the masks: the three
    must tell the same. Masks are `torch.bool`, True where a weight is kept; weights have the dense weight's dtype.
    Usual causes are an `update` that changes removed weights after they were set to zero (end it with `* mask`), that
    computes in double precision and does not convert back (`.to(weight.dtype)`), or that leaves layers out.
    """
    model = tiny_model()
    fitted, pattern = subject.fit_any(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prune(fitted, pattern).apply_to(model)
    if stray := set(changed_names(before, model.state_dict())) - set(fitted.layers):
        raise Violation(f"{', '.join(sorted(stray))} changed, but was not to be pruned")
