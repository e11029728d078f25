"""Checks of a fit: what it leaves behind, whether it repeats and can be saved, and the gradients that it takes."""

from __future__ import annotations

import io

import torch

from cap.testing.check import check
from cap.testing.inspection import Fitted, NotApplicable, Violation, changed_names, model_traces, prune
from cap.testing.subject import Subject
from cap.testing.tiny import WatchedCalibration, tiny_calibration, tiny_model

DECLARED: dict[str, set[str]] = {"nothing": set(), "inputs": {"inputs"}, "gradients": {"inputs", "gradients"}}


@check("model untouched")
def fit_leaves_the_model_as_it_was(subject: Subject) -> None:
    """`fit` and `prune` change nothing of the model: values, training modes, `requires_grad`, `.grad`, hooks.

    The same dense model goes to the next pruner, and what one of them leaves behind spoils the comparison. Usual
    causes are `model.eval()` without a way back, a forward pass in training mode, which moves batch norm's statistics,
    `loss.backward()`, which writes `.grad`, a hook that stays, or a weight changed in place. Take gradients from
    `calibration.gradients(model, layers)`, which leaves no trace, or work on `copy.deepcopy(model)`. The calibration
    images stay as they are, too.
    """
    model, calibration = tiny_model().train(), tiny_calibration()
    model.norm.eval()
    model.stem.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    traces, images = model_traces(model), calibration.images.clone()
    prune(*subject.fit_any(model, calibration))
    if changed := changed_names(before, model.state_dict()):
        raise Violation(f"the values of {', '.join(changed)} changed")
    for what, states in model_traces(model).items():
        if touched := [name for name, state in states.items() if state != traces[what][name]]:
            raise Violation(f"{what} of {', '.join(touched)} changed")
    if not calibration.images.equal(images):
        raise Violation("the calibration images changed")


@check("same seed")
def same_seed_same_result(subject: Subject) -> None:
    """Two fits after the same `torch.manual_seed` give the same weights, bit for bit.

    A result that cannot be had again cannot be checked, and a sweep that was interrupted must go on as if it had not
    been. Usual causes are random numbers from `random`, `numpy` or a generator without a seed, and walking through a
    set. Draw from `calibration.generator` or torch's default one, both of which are seeded before every fit.
    """
    one, other = (prune(*subject.fit_any()) for _ in range(2))
    for what, changed in (
        ("masks", changed_names(one.masks, other.masks)),
        ("weights", changed_names(one.weights, other.weights)),
    ):
        if changed:
            raise Violation(f"two fits give different {what} of {', '.join(changed)}")


@check("declared needs")
def no_gradients_unless_declared(subject: Subject) -> None:
    """A pruner whose class says `needs = "nothing"` or `"inputs"` asks the calibration for no gradients.

    What a fit will take is estimated from it before anything runs. By default `needs` is "gradients", which is always
    true. The usual cause of a failure is a base class that says less than its subclass needs: a layerwise pruner that
    looks at gradients after all. Write `needs = "gradients"` into the class, or "inputs" where it says "nothing" and
    asks for `layer_inputs`.
    """
    calibration = WatchedCalibration(tiny_calibration())
    subject.fit_any(calibration=calibration)
    needs = type(subject.create()).needs
    if stray := calibration.asked_for - DECLARED[needs]:
        raise Violation(f"the class says needs = {needs!r}, but asked for {' and '.join(sorted(stray))}")


@check("batch gradients")
def gradients_of_batches_work_or_are_refused(subject: Subject) -> str | None:
    """With `Calibration(gradient="batch")` the pruner works, or raises a ValueError that says it needs other gradients.

    Some experiments use the gradients of mini-batches: one row for each batch, any number of them, where otherwise
    there is a row for each image. The usual cause of a failure is code that counts on as many rows as images. Count the
    rows that come (`len(rows)`), or `calibration.count(num_gradients)`. If the method needs the gradient of every
    image, raise ValueError("... needs per-sample gradients") where `calibration.gradient == "batch"`.
    """
    try:
        fitted, pattern = subject.fit_any(calibration=tiny_calibration("batch"))
    except ValueError as error:
        if "gradient" in str(error):
            return f"refused: {error}"
        raise
    prune(fitted, pattern)
    return None


@check("state")
def a_saved_state_prunes_as_before(subject: Subject) -> None:
    """A fresh pruner that `load_state_dict` gives the saved `state_dict` prunes to the same weights, bit for bit.

    A fit of hours can be kept and taken up again. The base class saves all attributes: tensors, numbers, texts, and
    containers of these; if it finds another, say a model, this check is skipped. The usual cause of a failure is a
    `state_dict` of one's own that leaves something out, or a value that `fit` keeps outside the pruner. Keep what
    `prune` needs in attributes, or write `state_dict` and `load_state_dict` together.
    """
    fitted, pattern = subject.fit_any()
    try:
        state = fitted.pruner.state_dict()
    except NotImplementedError as reason:
        raise NotApplicable(str(reason)) from None
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    fresh = subject.create()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    torch.manual_seed(0)
    before = prune(fitted, pattern)
    torch.manual_seed(0)
    after = prune(Fitted(fresh, fitted.layers), pattern)
    if changed := changed_names(before.weights, after.weights) + changed_names(before.masks, after.masks):
        raise Violation(f"after loading {changed[0]} at {pattern} is not the same")
