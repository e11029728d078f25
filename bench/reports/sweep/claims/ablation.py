"""Claim C8: the effect of each option that was varied."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.reports.common.text import joined
from bench.reports.sweep.claims.recipe import PREFERENCES
from bench.reports.sweep.summary import SweepResults
from bench.results.labels import PHASES, pattern_in_words
from bench.results.settings import Settings, value_text
from bench.results.variants import baselines_of, option_sweeps

ELSEWHERE = {"regime", *(preference.setting for preference in PREFERENCES)}  # another claim tells


def option_effects(results: SweepResults) -> list[str]:
    """Returns for each pruner and option that was varied the best value and how much it matters."""
    baselines = baselines_of(results.summary)
    return [
        sentence
        for (method, option), settings in option_sweeps(results.summary).items()
        if option not in ELSEWHERE
        for sentence in _effect(results.summary, method, option, settings, baselines[method])
    ]


def _effect(
    summary: pd.DataFrame, method: str, option: str, settings: Sequence[Settings], baseline: Settings | None
) -> list[str]:
    """Returns a sentence on one option; none where no two of its values were tried on the same models."""
    cells = summary[summary["method"] == method]
    phase = "one_shot" if cells["one_shot_n"].notna().any() else "finetuned"
    cells = cells.assign(value=[value_text(Settings.from_json(text).get(option)) for text in cells["settings"]])
    cells = cells[cells["settings"].isin([values.to_json() for values in settings])]
    effects = []
    for pattern, part in cells.groupby("pattern", sort=False):
        top1 = part.pivot_table(index="model", columns="value", values=f"{phase}_mean").dropna().mean()
        if len(top1) > 1:
            effects.append(
                f"{pattern_in_words(str(pattern))}: best {top1.idxmax()} with {top1.max():.2f}, worst "
                f"{top1.idxmin()} with {top1.min():.2f}, spread {top1.max() - top1.min():.2f} points"
            )
    if not effects:
        return []
    values = list(dict.fromkeys(value_text(values.get(option)) for values in settings))
    usual = f", base {value_text(baseline.get(option))}" if baseline else ""
    deviation = cells[f"{phase}_std"].max()
    noise = "" if pd.isna(deviation) else f". Largest standard deviation over seeds {deviation:.2f}"
    return [f"C8 ({method}, {option} {joined(values)}{usual}; {PHASES[phase]} top-1): {'; '.join(effects)}{noise}."]
