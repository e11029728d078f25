"""Result rows as the page's cells: means over seeds with intervals, and what has no valid result with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.reports.page.cell_estimates import BASELINE, CellEstimates
from bench.reports.page.data import Cell
from bench.reports.page.made import MadeTable
from bench.reports.sweep.summary import KEYS, SweepResults, plain, pruned, published_for
from bench.results.labels import PHASES, REGIMES, kind, label, pattern_in_words
from bench.results.methods import method_of, setting_of
from bench.results.settings import Settings
from bench.results.store import DAMAGED
from bench.results.validity import INVALID
from bench.results.variants import is_named_by_parts

Row = dict[str, Any]  # a result row by its columns, with those of `bench.results.variants.describe`
UNSUCCESSFUL = ("skipped", "failed", "timeout", "preempted", DAMAGED)


class OptionTable:
    """Options of pruners as JSON, each text once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, options: object) -> int:
        """Returns the place of a text, which is added where it is new; no text counts as no options."""
        return self._places.setdefault(options if isinstance(options, str) else "{}", len(self._places))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, by place."""
        return tuple(self._places)


def cells_of(
    sweep: str, results: SweepResults, paper: pd.DataFrame, options: OptionTable, made: MadeTable
) -> list[Cell]:
    """Returns the cells of a sweep: models in the order of rows, those without a valid result last.

    Args:
        sweep: Name of the sweep.
        results: Its results.
        paper: The paper's own values, as `bench.reports.sweep.summary.read_paper_values` reads them.
        options: Table that receives the options.
        made: Table that receives how the cells were made.
    """
    every = pruned(results.rows)
    every = every.assign(baseline=_baseline(every), plain=plain(every))
    estimates = CellEstimates(every, results.estimator)
    known = _paper_values(every, paper)
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in every.to_dict("records"):
        groups.setdefault(tuple(str(row[key]) for key in (*KEYS, "phase")), []).append(row)
    estimates.load([row for row in part if not row["invalid"]] for part in groups.values())
    cells = [
        _cell(sweep, sorted(part, key=lambda row: row["seed"]), known, options, made, estimates)
        for part in groups.values()
    ]
    return [*cells, *_without_result(sweep, results.rows, options, made)]


def _baseline(every: pd.DataFrame) -> pd.Series:
    """Returns magnitude's top-1 for the model, pattern, phase, training and seed of every row, empty where none is."""
    keys = ["model", "pattern", "phase", "regime", "recipe", "seed"]
    shown = every.assign(recipe=every["recipe"].fillna(""))
    valid = shown[(shown["pruner"] == BASELINE) & ~shown["invalid"]]
    top1 = valid.groupby(keys)["top1"].mean()
    return pd.Series(top1.reindex(pd.MultiIndex.from_frame(shown[keys])).to_numpy(), index=every.index)


def _paper_values(every: pd.DataFrame, paper: pd.DataFrame) -> dict[tuple[str, str, float, str], float]:
    """Returns the published values for the models of these rows, by model, method, sparsity and phase."""
    return {
        (model, label(known.pruner), known.sparsity, known.phase): known.top1
        for model, family in every[["model", "family"]].drop_duplicates().itertuples(index=False)
        for known in published_for(model, family, paper).itertuples()
    }


def _cell(
    sweep: str,
    rows: Sequence[Row],
    paper: Mapping[tuple[str, str, float, str], float],
    options: OptionTable,
    made: MadeTable,
    estimates: CellEstimates,
) -> Cell:
    """Returns the cell of rows that differ in their seed alone."""
    first = rows[0]
    invalid = any(row["invalid"] for row in rows)
    valid = [] if invalid else rows  # of an invalid cell no accuracy counts
    told = [row["error"] for row in rows if isinstance(row["error"], str)]
    found = estimates.of(valid)
    known = paper.get((first["model"], first["method"], first["sparsity"], first["phase"]))
    return Cell(
        sweep=sweep,
        model=first["model"],
        pruner=first["pruner"],
        method=first["method"],
        variant=first["variant"],
        by_parts=is_named_by_parts(Settings.from_json(first["settings"])),
        family=method_of(first["pruner"]).family,
        setting=setting_of(first["pruner"], Settings.from_json(first["pruner_options"]), first["setting"]),
        pattern=first["pattern"],
        target=pattern_in_words(first["pattern"]),
        kind=first["kind"],
        sparsity=float(first["sparsity"]),
        phase=PHASES[first["phase"]],
        regime=REGIMES.get(str(first["regime"]), ""),
        status=INVALID if invalid else "done",
        reason=told[0] if told else None,
        top1=found.top1,
        top1_dense=_mean([row["top1_dense"] for row in rows]),
        drop=found.drop,
        loss=found.loss,
        gain=found.gain,
        kept=_mean([100 * row["top1"] / row["top1_dense"] for row in valid]),
        paper=known if first["plain"] else None,
        agreement=_mean([row["agreement"] for row in valid]),
        fit_seconds=_mean([row["fit_seconds"] for row in rows]),
        prune_seconds=_mean([row["prune_seconds"] for row in rows]),
        peak_memory_bytes=max(_finite([row["peak_memory_bytes"] for row in rows]), default=None),
        predicted=_mean([row["predicted_loss_increase"] for row in valid]),
        observed=_mean([row["observed_loss_increase"] for row in valid]),
        seeds=tuple(int(row["seed"]) for row in rows),
        resampled=found.resampled,
        values=tuple(float(row["top1"]) for row in rows),
        trials=tuple(str(row["trial_id"]) for row in rows),
        options=options.place(first["pruner_options"]),
        made=made.place(rows),
    )


def _finite(values: Iterable[float | None]) -> list[float]:
    """Returns the numbers among values."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _mean(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the numbers among values; None where there is none."""
    there = _finite(values)
    return sum(there) / len(there) if there else None


def _without_result(sweep: str, rows: pd.DataFrame, options: OptionTable, made: MadeTable) -> Iterator[Cell]:
    """Yields a cell for every group of rows that was skipped or ended without a result."""
    wrong = rows[rows["status"].isin(UNSUCCESSFUL)]
    keys = ["model", "pruner", "pruner_options", "pattern", "phase", "status"]
    for _, part in wrong.groupby(keys, sort=False, dropna=False):
        first = part.iloc[0]
        pattern = first["pattern"] if isinstance(first["pattern"], str) else None
        told = part["error"].dropna()
        yield Cell(
            sweep=sweep,
            model=first["model"],
            pruner=first["pruner"],
            method=label(first["pruner"]),
            variant="",
            by_parts=False,
            family=method_of(first["pruner"]).family,
            setting=setting_of(first["pruner"], Settings.from_json(first["pruner_options"]), first["setting"]),
            pattern=pattern,
            target=pattern_in_words(pattern) if pattern else "",
            kind=kind(pattern) if pattern else "",
            sparsity=_mean([first["sparsity_target"]]) if pattern else None,
            phase=PHASES.get(first["phase"], "") if pattern else "",
            regime=REGIMES.get(first["regime"], ""),
            status=first["status"],
            reason=str(told.iloc[0]) if len(told) else None,
            top1=None,
            top1_dense=_mean(part["top1_dense"]),
            drop=None,
            loss=None,
            gain=None,
            kept=None,
            paper=None,
            agreement=None,
            fit_seconds=None,
            prune_seconds=None,
            peak_memory_bytes=None,
            predicted=None,
            observed=None,
            seeds=_whole(part["seed"]),
            resampled=False,
            values=(),
            trials=tuple(str(trial) for trial in part["trial_id"]),
            options=options.place(first["pruner_options"]),
            made=made.place(part.to_dict("records")),
        )


def _whole(values: Iterable[float]) -> tuple[int, ...]:
    return tuple(int(value) for value in values if not pd.isna(value))
