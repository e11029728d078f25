"""One line on the origin of measured rows."""

from __future__ import annotations

import pandas as pd


def code_state(rows: pd.DataFrame) -> str:
    """Returns which code measured the rows: `commit 0123456789ab`, and whether tracked files differed from it.

    Args:
        rows: Rows with the columns `commit` and `dirty`.
    """
    commits = sorted({str(c)[:12] for c in rows["commit"].dropna()}) or ["unknown"]
    modified = ", with uncommitted changes" if rows["dirty"].fillna(False).any() else ""
    return f"commit {', '.join(commits)}{modified}"


def origin(rows: pd.DataFrame) -> str:
    """Returns one line that says where result rows come from.

    Args:
        rows: Result rows, as `bench.results.schema.ResultRow` describes them.
    """
    devices = ", ".join(sorted(rows["device"].dropna().unique()))
    trials, seeds = rows["trial_id"].nunique(), rows["seed"].nunique()
    images = int(rows["n_images"].max())
    split = " and ".join(sorted(rows["split"].fillna("test").unique())) if "split" in rows else "test"
    return (
        f"{trials} trials, {seeds} seed{'s' if seeds > 1 else ''}, {images:,} {split} images; "
        f"{code_state(rows)}; {devices}."
    )
