"""Trials by docs/protocol.md: dense models with seeds, pruners at tuned settings and at those of their authors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cap
from bench.results.tuned import AUTHORS, SETTINGS, Setting
from bench.specs.profiles import Profile
from bench.specs.recipes import FinetuneSpec
from bench.specs.settings import finetune_recipe, has_choice, patterns_at, setting_cases
from bench.specs.sweep import grid
from bench.specs.trial import Trial

TUNED: tuple[Setting, ...] = ("tuned",)
BOTH: tuple[Setting, ...] = tuple(reversed(SETTINGS))
CONTROL = "0.0"  # nothing is removed
STEPS = "num_recomputations"
Case = dict[str, Any]


def seeded_grid(sweep: str, profile: Profile, cases: Sequence[Case], **axes: Any) -> tuple[Trial, ...]:
    """Returns a trial of every case with every dense model, whose seed is also that of the trial.

    Args:
        sweep: Name of the sweep.
        profile: The profile, with its dense seeds.
        cases: Fields of trials.
        axes: Further fields, as `bench.specs.sweep.grid` takes them.
    """
    seeds = [{"seed": seed, "dense_seed": seed} for seed in profile.dense_seeds]
    return grid(sweep=sweep, profile=profile.name, seed=seeds, case=list(cases), **axes)


def protocol_cases(
    profile: Profile,
    models: Iterable[str],
    pruners: Iterable[str],
    sparsities: Iterable[float] = (),
    settings: Iterable[Setting] = TUNED,
    one_step: bool = False,
    **fields: Any,
) -> list[Case]:
    """Returns every model with every pruner in each setting, as published; one without a choice stands once.

    Args:
        profile: The profile.
        models: Names of models.
        pruners: Names of pruners.
        sparsities: Fractions of zeros, over all layers or for a pruner that refuses these layer by layer; none where
            `fields` has the patterns.
        settings: Settings.
        one_step: Whether the Fisher is estimated once a fit, whatever was chosen: patterns that are not reached in
            parts, and training that prunes in steps itself.
        fields: Fields of the trials that are the same for all.

    Raises:
        UserError: If none was chosen for a pruner on a model.
    """
    found, models, sparsities = [], tuple(models), tuple(sparsities)
    for pruner in pruners:
        chosen = tuple(settings) if has_choice(profile, pruner) else (AUTHORS,)
        cases = setting_cases(profile, models, [pruner], chosen, **fields)
        for case in cases:
            if sparsities:
                case["patterns"] = patterns_at(profile, pruner, sparsities)
            if not has_choice(profile, pruner):
                case["setting"] = None
            if one_step and STEPS in case["pruner_options"]:
                case["pruner_options"][STEPS] = 1
        found += cases
    return found


def finetuned(profile: Profile, cases: Iterable[Case], sparsities: Sequence[float] = ()) -> list[Case]:
    """Returns cases with the protocol's fine-tune, at the rate that was chosen on each model, and the control of each.

    Args:
        profile: The profile.
        cases: Cases with patterns.
        sparsities: Sparsities of the patterns that are fine-tuned after; none for all.
    """
    made = [
        {
            **case,
            "finetune": finetune_recipe(profile, case["model"]),
            "finetune_at": tuple(p for p in case["patterns"] if not sparsities or _sparsity(p) in sparsities),
        }
        for case in cases
    ]
    models = dict.fromkeys(case["model"] for case in made)
    return [*made, *(control(model, finetune_recipe(profile, model)) for model in models)]


def control(model: str, recipe: FinetuneSpec) -> Case:
    """Returns the dense model after a fine-tune: a pruner that removes nothing."""
    return {"model": model, "pruner": "magnitude", "patterns": (CONTROL,), "finetune": recipe,
            "finetune_at": (CONTROL,)}  # fmt: skip


def _sparsity(pattern: str) -> float:
    return cap.parse_pattern(pattern).sparsity
