"""Control of a sparsity: a smaller dense model with as many weights as a pruned one has left. Reads parquet alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.reports.common.text import joined, number
from bench.reports.sweep.summary import series
from bench.results.labels import PHASES, UNPRUNED, percent
from bench.results.parquet import read_rows
from bench.results.schema import SCHEMA

SWEEP = "smaller"


@dataclass(frozen=True)
class SmallerModel:
    """Smaller dense model, trained from random weights.

    Attributes:
        model: Name of the model that is pruned.
        sparsity: Fraction of zeros at which that has as many weights left.
        top1: Top-1, percent, mean over its seeds.
        seeds: Number of them.
    """

    model: str
    sparsity: float
    top1: float
    seeds: int


def smaller_models(folder: Path) -> list[SmallerModel]:
    """Returns the smaller dense models that were measured; none where there are no results of them.

    Args:
        folder: Folder of a profile's results. A model's name is that of the pruned one with the percentage, `vit_75`.

    Raises:
        DamagedError: If the results cannot be read.
    """
    path = folder / f"{SWEEP}.parquet"
    if not path.exists():
        return []
    rows = read_rows(path, SCHEMA).to_pandas()
    dense = rows[(rows["phase"] == "dense") & (rows["status"] == "done")]
    found = []
    for name, part in dense.groupby("model", sort=False):
        model, _, share = str(name).rpartition("_")
        found.append(SmallerModel(model, float(share) / 100, part["top1"].mean(), part["dense_seed"].nunique()))
    return found


def smaller_lines(summary: pd.DataFrame, found: list[SmallerModel]) -> list[str]:
    """Returns a line for every smaller model that pruned ones of a summary are set beside: which do not beat it.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
        found: Smaller models.
    """
    return [line for one in found for line in _lines(summary, one)]


def _lines(summary: pd.DataFrame, one: SmallerModel) -> Iterator[str]:
    cells = summary[(summary["model"] == one.model) & (summary["sparsity"] == one.sparsity)]
    cells = cells[cells["method"] != UNPRUNED]
    told = []
    for phase, name in PHASES.items():
        part = cells[cells[f"{phase}_mean"].notna()]
        if len(part):
            below = series(part)[part[f"{phase}_mean"] <= one.top1]
            told.append(f"{name} {joined(dict.fromkeys(below)) if len(below) else 'none'}")
    if told:
        seeds = f"{one.seeds} seed{'' if one.seeds == 1 else 's'}"
        yield (
            f"{one.model} at {percent(one.sparsity)}: a smaller dense model of as many weights, trained from the start,"
            f" has {number(one.top1)} % top-1 ({seeds}). Not above it: {'; '.join(told)}."
        )
