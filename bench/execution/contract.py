"""The contract of pruners as a gate before a comparison: what it finds would spoil the results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import cap
from bench.core.errors import UserError
from bench.execution.preflight import check_models
from bench.latency.subprocesses import run_in_subprocess
from bench.specs.comparison import Comparison, PrunerConfig
from bench.specs.trial import Trial
from cap.registry import source_file

SIZES = ("block_size", "num_gradients")  # options for which the checks have values that fit their tiny model


def contract_failures(comparison: Comparison, todo: Sequence[Trial]) -> list[str]:
    """Checks the new pruner of a comparison on a tiny model, before any trial of it runs.

    The trials' models and data are checked before it. A pruner's file is checked in a process of its own: a pruner that
    ends its process fails the check. Pruners of this package are not checked, its tests do that.

    Args:
        comparison: The comparison.
        todo: Trials that are to run; nothing is checked where none is of the new pruner.

    Returns:
        A line for every check that failed, and one on what to do; empty where all pass.

    Raises:
        UserError: If a model or its data cannot be used.
    """
    new = comparison.new
    if source_file(new.name) is None or not any(
        (trial.pruner, trial.pruner_options) == (new.name, new.options) for trial in todo
    ):
        return []
    check_models(todo)
    failed = pruner_failures(new)
    given = "".join(f" --option {shlex.quote(f'{key}={value}')}" for key, value in _checked_options(new).items())
    hint = f"`capbench check {shlex.quote(new.name)}{given}` says more; --no-check runs it all the same"
    return [*(f"breaks the contract: {new.label}: {line}" for line in failed), hint] if failed else []


def pruner_failures(pruner: PrunerConfig) -> list[str]:
    """Returns a line for every check of the contract that a pruner fails; that of a file runs in a process of its own.

    Args:
        pruner: The pruner with its options.
    """
    options = _checked_options(pruner)
    try:
        in_file = pruner.name.rpartition(":")[0].endswith(".py")
        return run_in_subprocess(_failures, pruner.name, options) if in_file else _failures(pruner.name, options)
    except RuntimeError as error:
        return [str(error)]


def _checked_options(pruner: PrunerConfig) -> dict[str, Any]:
    """Returns the options that the checks set: those that are not defaults and do not depend on a model's size."""
    defaults = cap.default_options(pruner.name)
    return {key: value for key, value in pruner.options.items() if key not in SIZES and value != defaults[key]}


def check_contract(comparison: Comparison, todo: Sequence[Trial]) -> None:
    """Refuses a comparison whose new pruner breaks the contract.

    Raises:
        UserError: If a check fails, with all that do.
    """
    if lines := contract_failures(comparison, todo):
        raise UserError("; ".join(lines[:-1]))


def _failures(name: str, options: Mapping[str, Any]) -> list[str]:
    """Returns a line for every check that a pruner fails."""
    from cap.testing import run_checks

    return [
        f"{outcome.check.name}: {' '.join(outcome.message.split())}"
        for outcome in run_checks(name, options)
        if outcome.status == "failed"
    ]
