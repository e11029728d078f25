"""Claim C3: the paper's recipe of training beats the usual one."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from bench.reports.sweep.claims.wording import by_sparsity
from bench.reports.sweep.summary import SweepResults
from bench.results.settings import Settings
from bench.statistics.estimate import mean_of_units


class Preference(NamedTuple):
    """A value of the recipe that the paper prefers to another.

    Attributes:
        setting: Name of the setting in the recipe.
        preferred: Value in the paper's recipe.
        usual: Value that it is compared with.
        claim: The claim in words.
    """

    setting: str
    preferred: str
    usual: str
    claim: str


PREFERENCES = (
    Preference("schedule", "sawtooth", "cosine", "the sawtooth learning rate beats one cosine decay"),
    Preference("augmentation", "light1", "deit", "the lighter augmentation light1 beats deit's"),
)


def recipe_beats_usual(results: SweepResults) -> list[str]:
    """Returns whether the paper's recipe beats the usual one, by runs that differ in nothing else, paired by seed."""
    tuned = results.done[results.done["phase"] == "finetuned"]
    return [sentence for preference in PREFERENCES for sentence in _compared(tuned, preference)]


def _compared(tuned: pd.DataFrame, preference: Preference) -> list[str]:
    """Returns a sentence on one value of the recipe; none where no two runs can be paired."""
    setting, preferred, usual, claim = preference
    values = [Settings.from_json(text).get(setting) for text in tuned["recipe"]]
    rest = [Settings.from_json(text).without(setting).to_json() for text in tuned["settings"]]
    runs = tuned.assign(value=values, rest=rest)
    pairs = runs[runs["value"].isin([preferred, usual])].pivot_table(
        index=["model", "pruner", "method", "rest", "pattern", "sparsity", "seed"], columns="value", values="top1"
    )
    if not {preferred, usual} <= set(pairs) or (pairs := pairs.dropna()).empty:
        return []
    difference = pairs[preferred] - pairs[usual]
    cells = difference.groupby(["model", "pruner", "method", "rest", "pattern"]).mean()
    by_run = difference.groupby(["model", "pruner", "method", "rest", "seed"]).mean().to_numpy()
    low, high = mean_of_units(by_run).interval()
    holding = "holds" if low > 0 else "does not hold" if high < 0 else "not shown"
    spread = f", 95 % interval {low:+.2f} to {high:+.2f}" if len(by_run) > 1 else ""
    return [
        f"C3 ({claim}): {holding}. Difference in points of top-1, mean over the sparsities of a run: "
        f"{by_run.mean():+.2f}{spread}, {len(by_run)} pairs of runs with the same seed; "
        f"{by_sparsity(difference.groupby('sparsity').mean())}. The "
        f"mean is higher in {(cells > 0).sum()} of {len(cells)} cells (model, sparsity and what else differs)."
    ]
