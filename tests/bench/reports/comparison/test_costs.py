from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from bench.reports.comparison.costs import ALL, cost_table, costs

MakeRows = Callable[..., pd.DataFrame]


@pytest.fixture
def rows(make_rows: MakeRows) -> pd.DataFrame:
    """Two seeds whose fits take 2 and 3 s; reading off takes 5.5 s at 50 % and 0.5 s at 75 %."""
    return pd.concat([
        make_rows({"slow": {0: 80.0, 1: 81.0}}, phase=phase, pattern=pattern).assign(prune_seconds=took)
        for phase in ("one_shot", "finetuned") for pattern, took in (("0.50", 5.5), ("0.75", 0.5))
    ])  # fmt: skip


def test_fit_and_prune_per_pattern_and_in_all(rows: pd.DataFrame) -> None:
    found = costs(rows.assign(label=rows["pruner"]), ["slow", "absent"]).set_index("pattern")
    assert found[["fit_seconds", "prune_seconds", "total_seconds"]].loc[["0.50", "0.75", ALL]].values.tolist() == [
        [2.5, 5.5, 8.0], [2.5, 0.5, 3.0], [2.5, 6.0, 8.5],
    ]  # fmt: skip
    assert found["peak_memory_bytes"].tolist() == [2 << 20] * 3
    shown = cost_table(found.reset_index())
    assert shown.iloc[0].tolist() == ["vit", "slow", "0.50", "2.5 s", "5.5 s", "8 s", "2 MiB"]
    assert shown["pruner"].tolist() == ["slow", "", ""]


def test_patterns_with_fits_of_their_own_count_each(rows: pd.DataFrame) -> None:
    """Fits anew on the way, or trials of one pattern each."""
    late = rows["pattern"] == "0.75"
    rows = rows.assign(label=rows["pruner"], fit_seconds=rows["fit_seconds"] + 10 * late)
    found = costs(rows, ["slow"]).set_index("pattern")
    assert found["fit_seconds"].to_dict() == {"0.50": 2.5, "0.75": 12.5, ALL: 15.0}


def test_an_invalid_pruner_has_costs_too(rows: pd.DataFrame) -> None:
    found = costs(rows.assign(label=rows["pruner"], status="invalid"), ["slow"])
    assert found["total_seconds"].tolist() == [8.0, 3.0, 8.5]
