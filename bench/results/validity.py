"""Invalid rows: models whose weights are not at the pattern that was asked for."""

from __future__ import annotations

import pandas as pd

from bench.results.labels import PHASES

INVALID = "invalid"
TOLERANCE = 1e-3  # of the sparsity: layers and blocks round their counts


def mark_invalid(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns rows in which those count as invalid, too, that say so by their numbers alone.

    Files that were written before the status existed have weights that break the pattern, or a sparsity that is not the
    one asked for, under `done`. After training or in INT8 kept weights may be zero, so more zeros than asked for tell
    nothing there.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them; they are left as they are.
    """
    sparsity, target = (pd.to_numeric(rows[name]) for name in ("sparsity_prunable", "sparsity_target"))
    violations = pd.to_numeric(rows["violations"])
    missed = (sparsity < target - TOLERANCE) | ((rows["phase"] == "one_shot") & (sparsity > target + TOLERANCE))
    missed &= ~rows["pattern"].astype(str).str.contains("@units")  # whole units come near: violations tell there
    wrong = (rows["status"] == "done") & rows["pattern"].notna() & (missed | (violations > 0))
    if not wrong.any():
        return rows
    told = [
        f"{zeros:.4g} of the weights are zero where {wanted:.4g} were wanted, {int(broken):,} break the pattern"
        for zeros, wanted, broken in zip(sparsity[wrong], target[wrong], violations[wrong].fillna(0), strict=True)
    ]
    marked = rows.astype({"error": object})
    marked.loc[wrong, "status"] = INVALID
    marked.loc[wrong, "error"] = told
    return marked


def invalid_lines(rows: pd.DataFrame) -> list[str]:
    """Returns a line for every pruner with invalid rows: how many, and what is wrong with the first.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
    """
    pruned = rows[rows["pattern"].notna()]
    lines = []
    for pruner, part in pruned.groupby("pruner", sort=False):
        wrong = part[part["status"] == INVALID]
        if len(wrong):
            first = wrong.iloc[0]
            where = f"{first['model']} {first['pattern']} {PHASES[first['phase']]} seed {first['seed']}"
            lines.append(f"invalid, not ranked: {len(wrong)} of {len(part)} rows of {pruner}: {where} {first['error']}")
    return lines
