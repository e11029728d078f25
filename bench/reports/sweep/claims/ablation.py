"""Claim C8: the effect of each option that was varied."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.reports.common.text import joined
from bench.reports.sweep.claims.finding import POINTS, Finding, ProtocolRow
from bench.reports.sweep.claims.recipe import PREFERENCES
from bench.reports.sweep.claims.verdict import SUPERVISED, has_collapsed, judged_cells, verdict
from bench.reports.sweep.summary import SweepResults, judged_rows, plain
from bench.results.labels import CAP, PHASES, pattern_in_words
from bench.results.settings import Settings, names_of, value_text
from bench.results.variants import baselines_of, option_sweeps
from bench.statistics.estimate import Estimate
from bench.statistics.outcomes import CellTest, Outcome, effects

ROW = ProtocolRow(
    claim="C8",
    statement="number of gradients, block size, dampening and recomputations matter as the paper's grids show",
    cells="each option x value against the base, one-shot at 75 %, grid run on `validation`, the base and the grid's "
    "ends once on `test`",
    confirmed="for an option: one value differs from the base by more than 0.5 points",
    refuted="for an option: every value within 0.5 points of the base",
)
OPTIONS = ("num_gradients", "block_size", "damp", "num_recomputations")
MARGIN = 0.5  # points of top-1
ELSEWHERE = {"regime", *(preference.setting for preference in PREFERENCES)}  # another claim tells


def option_effects(results: SweepResults) -> list[Finding]:
    """Returns for each pruner and option that was varied the best value and how much it matters.

    It looks at pruners whose options were varied one at a time: one from which each other differs in one option, or one
    option alone. Where options go together, as in composed pruners, no effect is due to one of them. With several dense
    models of an architecture it is judged as docs/protocol.md says.
    """
    if results.seeded:
        return [finding for split in ("validation", "test") for finding in _judged(results, split)]
    baselines = baselines_of(results.summary)
    return [
        finding
        for (method, option), settings in _on_purpose(results.summary).items()
        for finding in _effect(results.summary, method, option, settings, baselines[method])
    ]


def _on_purpose(frame: pd.DataFrame) -> dict[tuple[str, str], list[Settings]]:
    """Returns the sweeps of options that were varied one at a time, see `bench.results.variants.option_sweeps`."""
    baselines = baselines_of(frame)
    settings = frame.groupby("method", sort=False)["settings"].unique()
    alone = {
        method for method, texts in settings.items() if len(names_of(Settings.from_json(text) for text in texts)) == 1
    }
    return {
        (method, option): values
        for (method, option), values in option_sweeps(frame).items()
        if option not in ELSEWHERE and (baselines[method] is not None or method in alone)
    }


def _judged(results: SweepResults, split: str) -> list[Finding]:
    """Returns a verdict for each option of CAP that was varied from its base, over dense models and on one split.

    Differences are averaged over the models that were run. The correction is for the cells of all options.
    """
    rows = judged_rows(results.done, split)
    rows = rows[plain(rows) & (rows["phase"] == "one_shot") & (rows["sparsity"] == 0.75) & (rows["method"] == CAP)]
    rows = rows[rows["family"].isin(SUPERVISED)]
    if rows.empty or (base := baselines_of(rows)[CAP]) is None:
        return []
    parts = {text: dict(iter(part.groupby("model", sort=False))) for text, part in rows.groupby("settings")}
    usual = parts[base.to_json()]
    found: dict[tuple[str, str], Estimate] = {}
    collapsed = []
    for (_, option), settings in _on_purpose(rows).items():
        for values in settings:
            tried = parts[values.to_json()]
            shared = [model for model in tried if model in usual]
            ones, others = [tried[model] for model in shared], [usual[model] for model in shared]
            if values == base or option not in OPTIONS or not shared:
                continue
            if (difference := results.estimator.difference(ones, others)) is not None:
                found[option, value_text(values.get(option))] = difference
                collapsed.append(has_collapsed([*ones, *others]))
    tests = [
        CellTest(Outcome.UNDECIDED, test.p_value) if lost else test
        for test, lost in zip(effects(list(found.values()), MARGIN), collapsed, strict=True)
    ]
    return [
        _option_verdict(option, base, split, found, tests) for option in dict.fromkeys(option for option, _ in found)
    ]


def _option_verdict(
    option: str, base: Settings, split: str, found: dict[tuple[str, str], Estimate], tests: Sequence[CellTest]
) -> Finding:
    """Returns the verdict on one option, given the differences of all options and their tests."""
    chosen = [(value, one, test) for ((name, value), one), test in zip(found.items(), tests, strict=True)
              if name == option]  # fmt: skip
    shown = {test.outcome for _, _, test in chosen}
    outcome = (
        Outcome.HOLDS if Outcome.HOLDS in shown else Outcome.FAILS if shown == {Outcome.FAILS} else Outcome.UNDECIDED
    )
    usual = value_text(base.get(option))
    cells = judged_cells(
        {f"{value} less {usual}": one for value, one, _ in chosen}, [test for _, _, test in chosen], POINTS,
        ("differs", "within", "undecided"),
    )  # fmt: skip
    quantity = f"Difference of CAP's {split} top-1 at 75 % one-shot from the base, {option} {usual}"
    notes = _place_of_best(base.get(option), {value: one.value for value, one, _ in chosen})
    shown_notes = notes if split == "validation" else []
    return verdict(ROW, outcome, quantity, cells, shown_notes, subject=f"{option} of CAP", corrected=len(tests))


def _place_of_best(base: object, differences: dict[str, float]) -> list[str]:
    """Returns a sentence on the best value of a numeric grid, and whether it is within; none for other grids.

    Args:
        base: Value of the base.
        differences: {value: difference from the base, points}.
    """
    points = {value_text(base): 0.0, **differences}
    best = max(points, key=points.__getitem__)
    try:
        order = sorted(points, key=float)
    except ValueError:
        return []
    inside = best not in (order[0], order[-1])
    place = "within the grid" if inside else f"at an end of {joined(order)}: there may be a better one beyond"
    return [f"Best value {best}, {place}."]


def _effect(
    summary: pd.DataFrame, method: str, option: str, settings: Sequence[Settings], baseline: Settings | None
) -> list[Finding]:
    """Returns a finding on one option; none where no two of its values were tried on the same models."""
    cells = summary[summary["method"] == method]
    phase = "one_shot" if cells["one_shot_n"].notna().any() else "finetuned"
    cells = cells.assign(value=[value_text(Settings.from_json(text).get(option)) for text in cells["settings"]])
    cells = cells[cells["settings"].isin([values.to_json() for values in settings])]
    told = []
    for pattern, part in cells.groupby("pattern", sort=False):
        top1 = part.pivot_table(index="model", columns="value", values=f"{phase}_mean").dropna().mean()
        if len(top1) > 1:
            told.append(
                f"{pattern_in_words(str(pattern))}: best {top1.idxmax()} with {top1.max():.2f}, worst "
                f"{top1.idxmin()} with {top1.min():.2f}, spread {top1.max() - top1.min():.2f} points"
            )
    if not told:
        return []
    values = list(dict.fromkeys(value_text(values.get(option)) for values in settings))
    usual = f", base {value_text(baseline.get(option))}" if baseline else ""
    deviation = cells[f"{phase}_std"].max()
    noise = "" if pd.isna(deviation) else f". Largest standard deviation over seeds {deviation:.2f}"
    statement = f"{method}, {option} {joined(values)}{usual}; {PHASES[phase]} top-1"
    return [Finding(claim="C8", statement=statement, text=f"{'; '.join(told)}{noise}.")]
