"""Diagnosis of one model: all checks, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.core.errors import UserError
from bench.diagnosis import accuracy, data, gradients, network, resources
from bench.diagnosis.finding import Diagnosis, Finding
from bench.diagnosis.subject import Subject, load_subject, plan_trial
from bench.specs.profiles import get_profile

IMAGES = 256


def diagnose(
    model: str,
    profile: str = "embedded",
    pruner: str = "cap",
    options: Mapping[str, Any] | None = None,
    images: int = IMAGES,
    top1: float | None = None,
    device: str = "cpu",
    memory_gb: float | None = None,
    on_finding: Callable[[Finding], object] | None = None,
) -> Diagnosis:
    """Says what usually goes wrong when a model is pruned, before it is.

    Args:
        model: Name of a model of the profile, or the text of a user's own, see `bench.model_text`.
        profile: Name of the profile, or the text of a user's own data.
        pruner: Pruner whose fit is foreseen.
        options: Options of the pruner that take precedence over the profile's.
        images: Number of images to calibrate on, and of those to measure the accuracy on.
        top1: Top-1 that is expected of the dense model, percent; by default the one on record, if there is any.
        device: Torch device.
        memory_gb: GiB that a fit may take; by default what is free less a tenth.
        on_finding: Function that is told each finding as it is made.

    Raises:
        UserError: If model, data, pruner or a number is not valid, or weights or data are missing.
    """
    if images < 2:
        raise UserError(f"--images {images} is not valid: give at least 2")
    if top1 is not None and not 0 < top1 <= 100:
        raise UserError(f"--top1 {top1} is not valid: it is a percentage")
    resolved = plan_trial(profile, model, pruner, options or {})
    budget = None if memory_gb is None else int(memory_gb * 2**30)
    findings = []
    for finding in _findings(load_subject(resolved, images, top1, budget, device)):
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    return Diagnosis(resolved.model.name, resolved.profile.name, pruner, tuple(findings))


def diagnose_models(models: Sequence[str], profile: str, *arguments: Any) -> tuple[Diagnosis, ...]:
    """Diagnoses several models.

    Args:
        models: Names or texts of the models; none for all of the profile.
        profile: Name of the profile, or the text of a user's own data.
        arguments: Other arguments of `diagnose`, in its order.

    Raises:
        UserError: If one is not valid, or there is no model.
    """
    chosen = tuple(models) or tuple(get_profile(profile).models)
    if not chosen:
        raise UserError(f"--data {profile} needs --model: timm:NAME, or my_model.py:FUNCTION")
    return tuple(diagnose(model, profile, *arguments) for model in chosen)


def _findings(subject: Subject) -> Iterator[Finding]:
    """Yields the findings of all checks; a model that cannot be computed ends them."""
    yield from data.check_calibration(subject)
    try:
        yield from accuracy.check_accuracy(subject)
        yield from network.check_modes(subject)
        yield from network.check_calls(subject)
        yield from network.check_shared(subject)
        yield from network.check_zeros(subject)
        given = gradients.measure_gradients(subject)
        yield from gradients.check_gradients(subject, given)
        if given.mean:
            yield from gradients.check_dampening(subject, given)
            yield from gradients.check_fit(subject, given, gradients.measure_gradients(subject, "drawn"))
        yield from resources.check_memory(subject)
        yield from resources.check_time(subject, given)
    except ValueError as error:  # of `cap`, which refuses gradients and weights that are not finite, among others
        yield Finding("computation", "failure", " ".join(str(error).split()))
