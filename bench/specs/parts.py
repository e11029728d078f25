"""Parts of trials: fewer patterns, or one-shot pruning without the training after it.

The rows of a pattern depend neither on the other patterns of a trial nor on what is trained after it. A part is a trial
of its own, with an identity of its own; what either the part or the whole has is not run again for the other, see
`bench.execution.parts`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cap
from bench.specs.trial import Trial


@dataclass(frozen=True)
class TrialPart:
    """A trial, and the trial of the sweep that it is the whole or a part of.

    Attributes:
        whole: The trial of the sweep.
        trial: The trial that is wanted; the whole itself where all of it is.
    """

    whole: Trial
    trial: Trial


def part_of(trial: Trial, patterns: Collection[str], trained: bool = True) -> Trial:
    """Returns a trial of one-shot pruning at some of its patterns; one that is pruned during training is never cut.

    Args:
        trial: The trial.
        patterns: Patterns of the part.
        trained: Whether it keeps its fine-tunes and INT8.
    """
    if trial.training is not None:
        return trial
    kept = tuple(pattern for pattern in trial.patterns if pattern in patterns)
    tuned = tuple(pattern for pattern in trial.finetune_at if trained and pattern in kept)
    if (kept, tuned) == (trial.patterns, trial.finetune_at) and (trained or not is_trained(trial)):
        return trial
    changed = {
        "patterns": kept,
        "finetune_at": tuned,
        "finetune": trial.finetune if tuned else None,
        "quantization": trial.quantization if trained else None,
    }
    return trial.model_copy(update=changed)


def is_trained(trial: Trial) -> bool:
    """Returns whether more than one-shot pruning is done in a trial."""
    return trial.recipe is not None or trial.quantization is not None


def patterns_at(trial: Trial, sparsities: Collection[float]) -> tuple[str, ...]:
    """Returns the patterns of a trial that ask for one of these fractions of zeros, to six digits."""
    return tuple(one for one in trial.patterns if float(f"{cap.parse_pattern(one).sparsity:g}") in sparsities)
