"""Differences of a pruner to others, paired by seed, and their confidence intervals. Reads parquet alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.results.labels import FAMILY_ORDER, PHASES, label
from bench.results.predictions import Predictions
from bench.results.validity import INVALID
from bench.statistics.bootstrap import Resampling, difference, draw_resampling, two_level
from bench.statistics.estimate import Estimate, mean_of_units
from bench.statistics.power import units_to_decide

BETTER, WORSE, EVEN = "better", "worse", "no difference shown"
ONE_SEED, ALIKE, NONE = "one seed: no interval", "the same for every seed: no interval", "not compared"
ORDERS = {"family": FAMILY_ORDER, "phase": tuple(PHASES)}
CELL = ["family", "model", "pattern", "phase"]


def labels(pruners: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Returns a short name for each pruner, no two the same.

    Args:
        pruners: Names, or `path/to/file.py:ClassName`, each with all options; no two the same.

    Returns:
        A registered pruner's name in tables, a file's class name; where these are the same for several, with what tells
        them apart: the file, or the options that differ.
    """
    short = [label(name) for name, _ in pruners]
    result = []
    for own, (name, options) in zip(short, pruners, strict=True):
        alike = [other for other, text in zip(pruners, short, strict=True) if text == own and other != (name, options)]
        file = [_file(name)] if _file(name) and any(other != name for other, _ in alike) else []
        differing = [
            f"{key}={value!r}"
            for key, value in options.items()
            if any(other == name and others.get(key) != value for other, others in alike)
        ]
        result.append(f"{own} ({', '.join(file + differing)})" if file or differing else own)
    return result


def _file(pruner: str) -> str:
    path, colon, _ = pruner.rpartition(":")
    return path if colon and Path(path).suffix == ".py" else ""


@dataclass
class PairedDifferences:
    """Differences of two pruners' top-1 on the same seeds, and on the same images where predictions are stored.

    Attributes:
        predictions: Predicted classes of the rows; may have none.
        resamplings: {(seeds, images): resampling}, drawn once for all cells.
    """

    predictions: Predictions
    resamplings: dict[tuple[int, int], Resampling] = field(default_factory=dict)

    def estimate(self, new: pd.DataFrame, other: pd.DataFrame) -> Estimate | None:
        """Returns the new pruner's top-1 less the other's, points; None where they share no seed.

        Args:
            new: Rows of the new pruner in a cell, indexed by seed.
            other: Rows of the other.
        """
        seeds = [seed for seed in new.index if seed in other.index]
        if not seeds:
            return None
        parts = [part.loc[seeds] for part in (new, other)]
        states = [list(zip(part["trial_id"], part["pattern"], part["phase"], strict=True)) for part in parts]
        samples = [one for one in map(self.predictions.stacked, states) if one is not None]
        if len(samples) == 2 and samples[0].shape == samples[1].shape:
            return two_level(difference, samples, self._resampling(*samples[0].shape))
        return mean_of_units(parts[0]["top1"].to_numpy() - parts[1]["top1"].to_numpy())

    def _resampling(self, seeds: int, images: int) -> Resampling:
        if (seeds, images) not in self.resamplings:
            self.resamplings[seeds, images] = draw_resampling(seeds, images)
        return self.resamplings[seeds, images]


def verdict(estimate: Estimate | None) -> str:
    """Returns whether the new pruner is better: whether the interval of the difference leaves out 0.

    Args:
        estimate: The new pruner's top-1 less the other's, points; None where they share no seed.
    """
    if estimate is None:
        return NONE
    if math.isnan(estimate.error):
        return ONE_SEED
    if estimate.error == 0:
        return ALIKE
    low, high = estimate.interval()
    return BETTER if low > 0 else WORSE if high < 0 else EVEN


def compare(
    rows: pd.DataFrame, new: str, against: Sequence[str], predictions: Predictions | None = None
) -> pd.DataFrame:
    """Compares a pruner with others in every cell: model, pattern and phase.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them, with each pruner's label in `label`.
        new: Label of the pruner to compare.
        against: Labels of the others.
        predictions: Predicted classes of the rows, where they are stored.

    Returns:
        One row per cell and pruner, the new one first: `family`, `model`, `pattern`, `sparsity`, `phase`, `label`;
        `status` (done, invalid, skipped or failed) with a `reason`; `top1_mean`, `top1_std` (sample standard deviation,
        empty for n = 1), `n`, `top1_dense`, in percent; `fit_seconds` and `prune_seconds` (means) and
        `peak_memory_bytes` (largest) of the fits; all of it empty where a seed is invalid;
        and but for the new pruner, over the `pairs` seeds that both have, `difference` (the new pruner's top-1 less
        this one's, mean), `difference_std`, the confidence interval's `low` and `high`, the `verdict`, and where no
        difference is shown `seeds_to_decide`, see `bench.statistics.power.units_to_decide`.
    """
    pruned = rows[rows["pattern"].notna()]
    cells = pruned[[*CELL, "sparsity_target"]].drop_duplicates().sort_values(
        ["family", "model", "sparsity_target", "pattern", "phase"], key=_ordered
    )  # fmt: skip
    lines, differences = [], PairedDifferences(predictions or Predictions({}))
    for family, model, pattern, phase, sparsity in cells.itertuples(index=False):
        part = pruned[(pruned["model"] == model) & (pruned["pattern"] == pattern)]
        done = part[(part["status"] == "done") & (part["phase"] == phase)]
        wrong = part[(part["status"] == INVALID) & (part["phase"] == phase)]
        dense = pd.concat([done, wrong]).drop_duplicates("seed")["top1_dense"].mean()
        done = done[~done["label"].isin(wrong["label"])]
        by_seed = {name: done[done["label"] == name].set_index("seed") for name in (new, *against)}
        for name, fits in by_seed.items():
            top1 = fits["top1"]
            line = {
                "family": family,
                "model": model,
                "pattern": pattern,
                "sparsity": sparsity,
                "phase": phase,
                "label": name,
                **_state(rows[(rows["model"] == model) & (rows["label"] == name)], pattern, phase, len(fits)),
                "top1_mean": top1.mean(),
                "top1_std": top1.std(ddof=1),
                "n": len(top1),
                "top1_dense": dense,
                "fit_seconds": fits["fit_seconds"].mean(),
                "prune_seconds": fits["prune_seconds"].mean(),
                "peak_memory_bytes": fits["peak_memory_bytes"].max(),
            }
            lines.append(line if name == new else line | _paired(by_seed[new], fits, differences))
    return pd.DataFrame(lines).astype({"pairs": "Int64", "seeds_to_decide": "Int64"})


def _paired(new: pd.DataFrame, other: pd.DataFrame, differences: PairedDifferences) -> dict[str, float | str | None]:
    """Returns the columns on the difference of two pruners in a cell, given their rows by seed."""
    by_seed = (new["top1"] - other["top1"]).dropna()
    estimate = differences.estimate(new, other)
    found = verdict(estimate)
    low, high = (math.nan, math.nan) if estimate is None else estimate.interval()
    return {
        "pairs": len(by_seed),
        "difference": by_seed.mean(),
        "difference_std": by_seed.std(ddof=1),
        "low": low,
        "high": high,
        "verdict": found,
        "seeds_to_decide": units_to_decide(estimate) if estimate is not None and found == EVEN else None,
    }


def _ordered(values: pd.Series) -> pd.Series:
    """Sort keys: families and phases in their own order, anything else by value."""
    if values.name not in ORDERS:
        return values
    order = ORDERS[values.name]
    return values.map(lambda value: (order.index(value) if value in order else len(order), value))


def _state(rows: pd.DataFrame, pattern: str, phase: str, done: int) -> dict[str, str | None]:
    """Returns a pruner's status in a cell, given its rows on the model, and why it has no result there."""
    if done:
        return {"status": "done", "reason": None}
    wrong = rows[(rows["status"] == INVALID) & (rows["pattern"] == pattern) & (rows["phase"] == phase)]
    if len(wrong):
        return {"status": INVALID, "reason": wrong["error"].iloc[0]}
    skipped = rows[(rows["status"] == "skipped") & (rows["pattern"] == pattern)]
    if len(skipped):
        return {"status": "skipped", "reason": skipped["error"].iloc[0]}
    errors = rows.loc[rows["status"] == "failed", "error"]
    return {"status": "failed", "reason": errors.iloc[0] if len(errors) else "no result"}


def overall(cells: pd.DataFrame, new: str, baseline: str) -> str:
    """Returns one line on a pruner against one other.

    Args:
        cells: Compared cells, as `compare` returns them.
        new: Label of the pruner to compare.
        baseline: Label of the other.
    """
    part = cells[cells["label"] == baseline]
    counts = part["verdict"].value_counts()
    compared = part[part["pairs"] > 0]
    start = f"{new} against {baseline}: "
    if compared.empty:
        return f"{start}not compared, {'; '.join(sorted(set(_reasons(cells, new, baseline))))}."
    found = [f"better in {counts.get(BETTER, 0)} of {len(compared)} cells", f"worse in {counts.get(WORSE, 0)}",
             f"{EVEN} in {counts.get(EVEN, 0)}"]  # fmt: skip
    if counts.get(ONE_SEED):
        found.append(f"one seed and so no interval in {counts[ONE_SEED]}")
    if counts.get(ALIKE):
        found.append(f"the same difference for every seed and so no interval in {counts[ALIKE]}")
    if counts.get(NONE):
        found.append(f"{counts[NONE]} more not compared")
    return f"{start}{', '.join(found)}; mean difference {compared['difference'].mean():+.2f} points of top-1."


def _reasons(cells: pd.DataFrame, new: str, baseline: str) -> list[str]:
    """Returns why two pruners share no cell."""
    part = cells[cells["label"].isin((new, baseline)) & cells["reason"].notna()]
    return [f"{row.label} {row.status} {row.pattern}" for row in part.itertuples()] or ["they share no seed"]
