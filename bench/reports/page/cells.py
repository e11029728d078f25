"""Result rows as the page's cells: means over seeds with intervals, and what has no valid result with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from bench.reports.comparison.statistics import interval
from bench.reports.page.data import Cell, Interval
from bench.reports.sweep.summary import KEYS, plain, pruned
from bench.results.labels import PHASES, REGIMES, kind, label, pattern_in_words
from bench.results.methods import method_of, setting_of
from bench.results.settings import Settings
from bench.results.store import DAMAGED
from bench.results.validity import INVALID

BASELINE = "magnitude"  # what `gain` is relative to
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


def cells_of(sweep: str, rows: pd.DataFrame, paper: pd.DataFrame, options: OptionTable) -> list[Cell]:
    """Returns the cells of a sweep: models in the order of rows, those without a valid result last.

    Args:
        sweep: Name of the sweep.
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
        paper: The paper's own values, as `bench.reports.sweep.summary.read_paper_values` reads them.
        options: Table that receives the options.
    """
    every = pruned(rows)
    every["baseline"] = _baseline(every)
    grouped = every.groupby([*KEYS, "phase"], sort=False, dropna=False)
    known = _paper_values(paper)
    cells = [_cell(sweep, part.sort_values("seed"), known, options) for _, part in grouped]
    return [*cells, *_without_result(sweep, rows, options)]


def _baseline(every: pd.DataFrame) -> pd.Series:
    """Returns magnitude's top-1 for the model, pattern, phase, training and seed of every row, empty where none is."""
    keys = ["model", "pattern", "phase", "regime", "recipe", "seed"]
    shown = every.assign(recipe=every["recipe"].fillna(""))
    valid = shown[(shown["pruner"] == BASELINE) & ~shown["invalid"]]
    top1 = valid.groupby(keys)["top1"].mean()
    return pd.Series(top1.reindex(pd.MultiIndex.from_frame(shown[keys])).to_numpy(), index=every.index)


def _paper_values(paper: pd.DataFrame) -> dict[tuple[str, str, float, str], float]:
    """Returns the paper's values by family, method, sparsity and phase."""
    return {
        (known.family, label(known.pruner), known.sparsity, known.phase): known.top1 for known in paper.itertuples()
    }


def _cell(sweep: str, part: pd.DataFrame, paper: dict[tuple[str, str, float, str], float], options: OptionTable) -> Cell:
    first = part.iloc[0]
    invalid = bool(part["invalid"].any())
    told = part["error"].dropna()
    top1 = part["top1"].to_numpy(float)
    known = paper.get((first["family"], first["method"], first["sparsity"], first["phase"]))
    return Cell(
        sweep=sweep,
        model=first["model"],
        pruner=first["pruner"],
        method=first["method"],
        variant=first["variant"],
        family=method_of(first["pruner"]).family,
        setting=setting_of(first["pruner"], Settings.from_json(first["pruner_options"])),
        pattern=first["pattern"],
        target=pattern_in_words(first["pattern"]),
        kind=first["kind"],
        sparsity=float(first["sparsity"]),
        phase=PHASES[first["phase"]],
        regime=REGIMES.get(first["regime"], first["regime"]),
        status=INVALID if invalid else "done",
        reason=str(told.iloc[0]) if len(told) else None,
        top1=None if invalid else _estimate(top1),
        top1_dense=_number(part["top1_dense"].max()),
        drop=None if invalid else _estimate(top1 - part["top1_dense"].to_numpy(float)),
        gain=None if invalid else _estimate(top1 - part["baseline"].to_numpy(float)),
        kept=None if invalid else _number((100 * part["top1"] / part["top1_dense"]).mean()),
        paper=known if plain(part).iloc[0] else None,
        agreement=None if invalid else _number(part["agreement"].mean()),
        fit_seconds=_number(part["fit_seconds"].mean()),
        prune_seconds=_number(part["prune_seconds"].mean()),
        peak_memory_bytes=_number(part["peak_memory_bytes"].max()),
        predicted=None if invalid else _number(part["predicted_loss_increase"].mean()),
        observed=None if invalid else _number(part["observed_loss_increase"].mean()),
        seeds=tuple(int(seed) for seed in part["seed"]),
        values=tuple(float(value) for value in top1),
        trials=tuple(str(trial) for trial in part["trial_id"]),
        options=options.place(first["pruner_options"]),
    )


def _estimate(values: np.ndarray) -> Interval | None:
    """Returns the mean of values that are there with its interval by Student's t; None where none is there."""
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    low, high = interval(there)
    return float(there.mean()), _number(low), _number(high)


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _without_result(sweep: str, rows: pd.DataFrame, options: OptionTable) -> Iterator[Cell]:
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
            family=method_of(first["pruner"]).family,
            setting=setting_of(first["pruner"], Settings.from_json(first["pruner_options"])),
            pattern=pattern,
            target=pattern_in_words(pattern) if pattern else "",
            kind=kind(pattern) if pattern else "",
            sparsity=_number(first["sparsity_target"]) if pattern else None,
            phase=PHASES.get(first["phase"], "") if pattern else "",
            regime=REGIMES.get(first["regime"], ""),
            status=first["status"],
            reason=str(told.iloc[0]) if len(told) else None,
            top1=None,
            top1_dense=_number(part["top1_dense"].max()),
            drop=None,
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
            values=(),
            trials=tuple(str(trial) for trial in part["trial_id"]),
            options=options.place(first["pruner_options"]),
        )


def _whole(values: Iterable[float]) -> tuple[int, ...]:
    return tuple(int(value) for value in values if not pd.isna(value))
