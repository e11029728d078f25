"""Control of a training: the dense model after it, beside the dense model as it was."""

from __future__ import annotations

import pandas as pd

from bench.reports.common.text import number
from bench.results.labels import UNPRUNED


def control_lines(summary: pd.DataFrame) -> list[str]:
    """Returns a line for every training that a dense model went through, which says whether it harms.

    Args:
        summary: As `bench.reports.sweep.summary.summarise` returns it.
    """
    cells = summary[(summary["method"] == UNPRUNED) & summary["finetuned_mean"].notna()]
    lines = []
    for row in cells.to_dict("records"):
        gain = row["finetuned_mean"] - row["dense"]
        what = f" ({row['variant']})" if row["variant"] else ""
        lines.append(
            f"{row['model']}: the dense model after the same training{what} has {number(row['finetuned_mean'])} % "
            f"top-1, {gain:+.2f} points: the training {'harms' if gain < 0 else 'does not harm'} it."
        )
    return lines
