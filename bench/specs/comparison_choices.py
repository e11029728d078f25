"""What a comparison is decided on: refusals of splits, settings and patterns that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cap
from bench.core.errors import UserError
from bench.results.tuned import SETTINGS
from bench.specs.profiles import Profile
from bench.specs.trial import repetition
from cap.batch_norm import has_batch_norm

SPLITS = ("test", "validation")  # that a comparison may be decided on
STATISTICS = ("kept", "reestimated")  # of batch normalisation after pruning
KEPT = STATISTICS[0]


def check_choices(profile: Profile, split: str, setting: str | None, options: Mapping[str, Any]) -> None:
    """Refuses a split that the profile lacks, an unknown setting, and one beside options."""
    if not profile.splits.get(split) or split not in SPLITS:
        known = [name for name in SPLITS if profile.splits.get(name)]
        raise UserError(f"--split {split} is not valid: profile {profile.name} evaluates on {' or '.join(known)}")
    if setting is not None and setting not in SETTINGS:
        raise UserError(f"--setting {setting} is not valid: choose from {', '.join(SETTINGS)}")
    if setting is not None and options:
        raise UserError(f"--option {next(iter(options))} and --setting {setting} set the same: give one of them")


def check_statistics(profile: Profile, models: Sequence[str], batch_norm: str) -> None:
    """Refuses an unknown treatment of batch normalisation, and a new estimate for models that have none."""
    if batch_norm not in STATISTICS:
        raise UserError(f"--batch-norm {batch_norm} is not valid: choose from {', '.join(STATISTICS)}")
    if batch_norm == KEPT:
        return
    if without := [name for name in models if not has_batch_norm(profile.model(name).outline())]:
        raise UserError(
            f"--batch-norm {batch_norm}: no batch normalisation in {', '.join(without)}; --model names others"
        )


def check_several(option: str, values: Sequence[object]) -> None:
    """Refuses an option without a value, and one value twice."""
    if not values:
        raise UserError(f"{option} has no value: give at least one")
    if mistake := repetition(option, values):
        raise UserError(mistake)


def check_shapes(profile: Profile, models: Sequence[str], patterns: Sequence[str]) -> None:
    """Refuses groups and blocks that do not fit into the models' layers."""
    grouped = [pattern for pattern in map(cap.parse_pattern, patterns) if not isinstance(pattern, cap.Unstructured)]
    for model in models if grouped else ():
        spec = profile.model(model)
        spec = spec.with_seed(profile.dense_seeds[0]) if spec.seeded and profile.dense_seeds else spec
        for pattern in grouped:
            own = spec.with_inputs_grouped() if isinstance(pattern, cap.NM) else spec
            layers = cap.select_layers(own.outline(), own.prunable)
            if reason := cap.shape_mismatch(layers, pattern):
                raise UserError(f"--sparsity {pattern} does not fit model {model}: {reason}")
