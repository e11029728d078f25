"""The contract that every pruner keeps, whoever wrote it: all checks in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cap
from cap.fit_resources import Progress
from cap.testing import checks_of_fit, checks_of_form, checks_of_masks
from cap.testing.check import Check, Outcome, run_check
from cap.testing.subject import Subject

CHECKS: tuple[Check, ...] = (
    checks_of_form.options_have_defaults,
    checks_of_form.class_says_what_it_does,
    checks_of_form.scores_cover_every_layer,
    checks_of_form.only_the_chosen_weights_change,
    checks_of_masks.as_many_zeros_as_asked_for,
    checks_of_fit.fit_leaves_the_model_as_it_was,
    checks_of_fit.same_seed_same_result,
    checks_of_masks.masks_are_monotone,
    checks_of_masks.one_fit_serves_any_order,
    checks_of_masks.sparsity_zero_is_the_dense_model,
    checks_of_masks.zeros_go_first_and_stay,
    *checks_of_masks.followed_or_refused,
    checks_of_fit.no_gradients_unless_declared,
    checks_of_fit.gradients_of_batches_work_or_are_refused,
    checks_of_fit.a_saved_state_prunes_as_before,
)
"""All checks of the contract, in the order in which they run."""


def run_checks(name: str, options: Mapping[str, Any], progress: Progress | None = None) -> Iterator[Outcome]:
    """Runs every check on a pruner.

    Args:
        name: Name of `cap.available()`, or `path/to/file.py:ClassName`.
        options: Options of the pruner; those that are not given take small values or the pruner's defaults.
        progress: Function that shows the progress of fits, called with done, total, text; None to show none.

    Yields:
        An outcome for each of `CHECKS`, as soon as it is there. After a gate that failed the rest are skipped.

    Raises:
        ValueError: If there is no such pruner.
    """
    cap.default_options(name)
    subject = Subject(name, options, progress)
    failed_gate = ""
    for one in CHECKS:
        if failed_gate:
            yield Outcome(one, "skipped", f"not run, because {failed_gate!r} failed")
            continue
        outcome = run_check(one, subject)
        if one.gate and outcome.status == "failed":
            failed_gate = one.name
        yield outcome
