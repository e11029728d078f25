"""A sweep's results as figures; a kind of figure a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from bench.reports.sweep.attribution import composed
from bench.reports.sweep.figures.attribution import attribution_maps
from bench.reports.sweep.figures.budget import budget_curves, has_budgets
from bench.reports.sweep.figures.curves import accuracy_curves
from bench.reports.sweep.figures.dots import pattern_dots
from bench.reports.sweep.figures.losses import loss_scatter
from bench.reports.sweep.figures.options import has_option_curves, option_panels
from bench.reports.sweep.figures.panels import MANY, best_of_families
from bench.reports.sweep.figures.ranks import rank_panels
from bench.reports.sweep.figures.structured import size_panels
from bench.reports.sweep.ranks import rankings
from bench.reports.sweep.summary import SweepResults, series, summarise, valid_cells
from bench.results.labels import NM, PHASES, UNITS, UNITS_THEN, UNPRUNED
from bench.results.settings import Settings
from bench.results.tuned import AUTHORS
from bench.results.variants import SETTING

Draw = Callable[[pd.DataFrame, str, Path, str], list[Path]]


def figures(rows: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Draws the figures that these rows have something for.

    Composed pruners get a map of mask by update, and under the name `<stem>_layers` one of mask by allocation. A
    training that was run for three or more numbers of epochs gets curves over these. Options that were tried at three
    or more values get a panel each; otherwise there are curves over the sparsity, and dots for N:M patterns; of many
    lines these have the tuned settings alone, or the best of each family, and `<stem>_all` has all. Where the increase
    of the calibration loss was both predicted and observed, one is drawn against the other, under the name
    `<stem>_loss`. Models that lost units are also drawn against their multiply-adds and their speed, under the name
    `<stem>_size`. Pruners with several dense models are ranked in `<stem>_ranks`. What is invalid is left out, and a
    note says how many points.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        title: Heading of the figures.
        stem: Path without suffix.

    Returns:
        The files written.
    """
    every = summarise(rows)
    left = int(every[[f"{phase}_invalid" for phase in PHASES]].sum(axis=None))
    note = f"{left} points are not shown: invalid, their weights are not at the pattern" if left else ""
    summary = valid_cells(every)
    groups, control = summary["kind"] == NM, summary["method"] == UNPRUNED
    written: list[Path] = []
    if not composed(summary).empty:
        written += attribution_maps(summary, title, stem, note)
    elif has_budgets(summary):
        written += budget_curves(summary, title, stem, note)
    elif has_option_curves(summary):
        written += option_panels(summary, title, stem, note)
    elif not (groups | control).all():
        written += _main_and_all(accuracy_curves, summary[~groups], title, stem, note)
        if groups.any():
            beside = stem.with_name(f"{stem.name}_nm")
            written += _main_and_all(pattern_dots, summary[groups | control], title, beside, note)
    else:
        written += _main_and_all(pattern_dots, summary, title, stem, note)
    units = summary[summary["kind"].isin((UNITS, UNITS_THEN)) & summary["macs_left"].notna()]
    if len(units):
        written += size_panels(units, title, stem.with_name(f"{stem.name}_size"), note)
    results = SweepResults.of(rows)
    if results.seeded and (ranked := rankings(results)):
        written += rank_panels(ranked, title, stem.with_name(f"{stem.name}_ranks"))
    return written + loss_scatter(results.done, title, stem.with_name(f"{stem.name}_loss"))


def _main_and_all(draw: Draw, summary: pd.DataFrame, title: str, stem: Path, note: str) -> list[Path]:
    """Draws cells; of many lines the tuned ones, or the best of each family, and all under the name `<stem>_all`."""
    pruned = summary[summary["method"] != UNPRUNED]
    names = series(pruned)
    if names.nunique() <= MANY:
        return draw(summary, title, stem, note)
    appendix = stem.with_name(f"{stem.name}_all")
    whose = [Settings.from_json(text).get(SETTING) for text in pruned["settings"]]
    main = names[[setting != AUTHORS for setting in whose]]
    main = main if len(main) else names
    told = ["without the authors' settings"] if len(main) < len(names) else []
    if main.nunique() > MANY:
        main = main[main.isin(best_of_families(pruned.loc[main.index], main))]
        told.insert(0, "the best of each family of methods")
    said = f"{', '.join(told)}; all {names.nunique()} in {appendix.name}"
    shown = summary[summary.index.isin(main.index) | (summary["method"] == UNPRUNED)]
    written = draw(shown, title, stem, f"{said}; {note}" if note else said)
    return written + draw(summary, title, appendix, note)
