"""One line on the origin of measured rows."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

NO_CHECKOUT = "wheel"  # what code without a commit is, in front of its version


def wheel_versions(rows: pd.DataFrame) -> list[str]:
    """Returns the versions of cap-bench that made rows without a commit.

    Args:
        rows: Rows with the column `commit`, and `versions` where it is known.
    """
    texts: Iterable[str] = rows.loc[rows["commit"].isna(), "versions"].dropna() if "versions" in rows else ()
    return sorted({json.loads(text).get("cap-bench", "unknown") for text in texts})


def code_state(rows: pd.DataFrame) -> str:
    """Returns which code measured the rows: `commit 0123456789ab`, and whether tracked files differed from it.

    Without a checkout it is `version 0.1.0 of the wheel`.

    Args:
        rows: Rows with the columns `commit` and `dirty`.
    """
    commits, versions = sorted({str(c)[:12] for c in rows["commit"].dropna()}), wheel_versions(rows)
    modified = ", with uncommitted changes" if rows["dirty"].fillna(False).any() else ""
    made_by = [f"commit {', '.join(commits or ['unknown'])}{modified}"] if commits or not versions else []
    made_by += [f"version {', '.join(versions)} of the {NO_CHECKOUT}"] if versions else []
    return " and ".join(made_by)


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
