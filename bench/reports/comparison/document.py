"""A comparison as one JSON document for programs; docs/compare.md has its schema."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.reports.comparison.entry import Entry
from bench.results.validity import INVALID

VERSION = 1  # of the schema: higher when a name goes or changes its meaning
CELL = ["family", "model", "pattern", "sparsity", "phase"]
OWN = [*CELL, "label", "status", "reason", "top1_mean", "top1_std", "n", "top1_dense"]
PAIRED = [*CELL, "label", "pairs", "difference", "difference_std", "low", "high", "verdict",
          "seeds_to_decide"]  # fmt: skip
WRONG = ["trial_id", "label", "model", "pattern", "phase", "seed", "error"]


def as_document(
    title: str,
    entries: Sequence[Entry],
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    costs: pd.DataFrame,
    verdicts: Sequence[str],
) -> dict[str, Any]:
    """Returns a comparison in plain values: no NaN, what was not measured is None.

    Args:
        title: Heading of the report.
        entries: Pruners, the new one first.
        rows: Result rows with the pruners' labels.
        cells: Compared cells, see `bench.reports.comparison.statistics.compare`.
        costs: Costs of the pruners, see `bench.reports.comparison.costs.costs`.
        verdicts: A line for each of the others.
    """
    new, *against = [entry.label for entry in entries]
    wrong = rows[rows["status"] == INVALID]
    return {
        "version": VERSION,
        "title": title,
        "new": new,
        "against": against,
        "pruners": [_pruner(entry) for entry in entries],
        "cells": _records(cells[OWN]),
        "differences": _records(cells.loc[cells["label"] != new, PAIRED]),
        "verdicts": list(verdicts),
        "costs": _records(costs),
        "invalid": _records(wrong[WRONG]),
        "trials": list(dict.fromkeys(rows["trial_id"])),
        "commits": sorted(rows["commit"].dropna().unique()),
        "devices": sorted(rows["device"].dropna().unique()),
    }


def _pruner(entry: Entry) -> dict[str, Any]:
    return {
        "label": entry.label,
        "pruner": entry.pruner,
        "options": json.loads(entry.all_options),
        "source": entry.source or entry.pruner,
        "sha256": entry.sha256 or None,
        "code": entry.code or None,
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """Returns a cell as JSON has it."""
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
