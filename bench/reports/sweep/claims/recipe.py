"""Claim C3: the paper's recipe of training beats the usual one."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from bench.reports.common.text import joined
from bench.reports.sweep.claims.finding import POINTS, Finding, ProtocolRow
from bench.reports.sweep.claims.verdict import (
    ARCHITECTURES,
    absent_architectures,
    has_collapsed,
    judged_cells,
    supervised_cap,
    verdict,
)
from bench.reports.sweep.claims.wording import by_sparsity
from bench.reports.sweep.summary import SweepResults, judged_rows
from bench.results.labels import GLOBAL
from bench.results.settings import Settings
from bench.statistics.estimate import Estimate, mean_of_units
from bench.statistics.outcomes import CellTest, Outcome, signs

ROW = ProtocolRow(
    claim="C3",
    statement="the sawtooth recipe beats one cosine decay; light augmentation beats the strong one on small models",
    cells="each architecture x {sawtooth less cosine, light less strong}; gradual runs that end at 90 %, the same "
    "images and epochs; their last state alone",
    confirmed="both better, on no architecture worse",
    refuted="one worse on the mean of the architectures",
)
LAST = 0.9  # sparsity at which the runs end


class Preference(NamedTuple):
    """A value of the recipe that the paper prefers to another.

    Attributes:
        setting: Name of the setting in the recipe.
        preferred: Value in the paper's recipe.
        usual: Value that it is compared with.
        claim: The claim in words.
        less: The difference in words.
    """

    setting: str
    preferred: str
    usual: str
    claim: str
    less: str


PREFERENCES = (
    Preference(
        "schedule", "sawtooth", "cosine", "the sawtooth learning rate beats one cosine decay", "sawtooth less cosine"
    ),
    Preference("augmentation", "light1", "deit", "the lighter augmentation light1 beats deit's", "light less strong"),
)


def recipe_beats_usual(results: SweepResults) -> list[Finding]:
    """Returns whether the paper's recipe beats the usual one, by runs that differ in nothing else, paired by seed.

    With several dense models of an architecture it is judged as docs/protocol.md says.
    """
    if results.seeded:
        return _judged(results)
    tuned = results.done[results.done["phase"] == "finetuned"]
    return [finding for preference in PREFERENCES for finding in _compared(tuned, preference)]


def _judged(results: SweepResults) -> list[Finding]:
    """Returns the verdict over dense models; none where no two runs can be paired."""
    runs = _last_states(supervised_cap(judged_rows(results.done)))
    pairs = {preference: _pairs(runs, preference) for preference in PREFERENCES}
    if not any(pairs.values()):
        return []
    by_name: dict[str, Estimate] = {}
    collapsed, means = set(), []
    for preference, parts in pairs.items():
        compared = {f"{preference.less} on {model}": [pair] for model, pair in parts.items()}
        if len(parts) > 1:
            compared[f"{preference.less} on the mean"] = list(parts.values())
        for name, chosen in compared.items():
            ones, others = ([pair[side] for pair in chosen] for side in (0, 1))
            if (found := results.estimator.difference(ones, others)) is not None:
                by_name[name] = found
                collapsed |= {name} if has_collapsed([*ones, *others]) else set()
        families = {pair[0]["family"].iloc[0] for pair in parts.values()}
        means += [] if absent_architectures(families) else [f"{preference.less} on the mean"]
    tests = [
        test if name not in collapsed else CellTest(Outcome.UNDECIDED, test.p_value)
        for name, test in zip(by_name, signs(list(by_name.values())), strict=True)
    ]
    shown = {name: test.outcome for name, test in zip(by_name, tests, strict=True)}
    lacking = [preference.less for preference in PREFERENCES if f"{preference.less} on the mean" not in means]
    notes = [f"Not on all of {joined(ARCHITECTURES)}: {joined(lacking)}."] if lacking else []
    cells = judged_cells(by_name, tests, POINTS, ("better", "worse", "undecided"))
    return [verdict(ROW, _outcome(shown, means), "Difference of top-1 at the end of a run", cells, notes)]


def _outcome(shown: dict[str, Outcome], means: list[str]) -> Outcome:
    """Returns the outcome by the row of the protocol.

    Args:
        shown: Outcome of the test of every cell.
        means: Names of the cells that are means of all architectures.
    """
    if any(shown[name] is Outcome.FAILS for name in means):
        return Outcome.FAILS
    better = len(means) == len(PREFERENCES) and all(shown[name] is Outcome.HOLDS for name in means)
    return Outcome.HOLDS if better and Outcome.FAILS not in shown.values() else Outcome.UNDECIDED


def _last_states(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the last states of gradual runs over all layers that end at 90 %."""
    tuned = rows[(rows["regime"] == "gradual") & (rows["phase"] == "finetuned") & (rows["kind"] == GLOBAL)]
    last = tuned.groupby("trial_id")["sparsity"].transform("max") == LAST
    return tuned[last & (tuned["sparsity"] == LAST)]


def _pairs(runs: pd.DataFrame, preference: Preference) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Returns on every model the runs with the preferred value, and those that differ from them in it alone."""
    recipes = [Settings.from_json(text) for text in runs["recipe"]]
    setting = preference.setting
    rest = [
        f"{model} {int(seed)} {options} {recipe.without(setting).to_json()}"
        for model, seed, options, recipe in zip(
            runs["model"], runs["dense_seed"], runs["pruner_options"], recipes, strict=True
        )
    ]
    runs = runs.assign(value=[recipe.get(setting) for recipe in recipes], rest=rest)
    ones, others = (runs[runs["value"] == value] for value in (preference.preferred, preference.usual))
    ones, others = ones[ones["rest"].isin(others["rest"])], others[others["rest"].isin(ones["rest"])]
    theirs = dict(iter(others.groupby("model", sort=False)))
    return {str(model): (part, theirs[model]) for model, part in ones.groupby("model", sort=False)}


def _compared(tuned: pd.DataFrame, preference: Preference) -> list[Finding]:
    """Returns a finding on one value of the recipe; none where no two runs can be paired."""
    setting, preferred, usual = preference.setting, preference.preferred, preference.usual
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
    spread = f", 95 % interval {low:+.2f} to {high:+.2f}" if len(by_run) > 1 else ""
    return [
        Finding(
            claim="C3",
            statement=preference.claim,
            outcome="holds" if low > 0 else "does not hold" if high < 0 else "not shown",
            text=f"Difference in points of top-1, mean over the sparsities of a run: {by_run.mean():+.2f}{spread}, "
            f"{len(by_run)} pairs of runs with the same seed; {by_sparsity(difference.groupby('sparsity').mean())}. "
            f"The mean is higher in {(cells > 0).sum()} of {len(cells)} cells (model, sparsity and what else differs).",
        )
    ]
