from __future__ import annotations

import statistics
from pathlib import Path

import pandas as pd
import pytest

from bench.reports.sweep.summary import read_paper_values, summarise


def test_statistics_over_seeds(table_rows) -> None:
    summary = summarise(table_rows()).set_index(["pruner", "sparsity"])
    cell = summary.loc[("cap", 0.75)]
    assert cell["one_shot_mean"] == pytest.approx(83)
    assert cell["one_shot_std"] == pytest.approx(statistics.stdev([80, 82, 87]))
    assert cell["one_shot_n"] == 3
    assert cell["one_shot_drop"] == pytest.approx(7)
    assert cell["finetuned_rel_drop"] == pytest.approx(100 * 0.6 / 90)
    assert pd.isna(summary.loc[("cap", 0.95), "finetuned_mean"])


def test_failed_and_skipped_rows_do_not_count(table_rows) -> None:
    rows = table_rows()
    rows.loc[0, "status"] = "failed"
    summary = summarise(rows).set_index(["pruner", "sparsity"])
    assert summary.loc[("magnitude", 0.75), "one_shot_n"] == 2


def test_every_paper_value_has_a_source() -> None:
    paper = read_paper_values(Path(__file__).parents[4] / "results")
    assert paper["source"].str.contains("2210.09223").all()
    assert paper["top1"].between(0, 100).all()


def test_only_seeds_are_averaged(table_rows) -> None:
    first, second = table_rows({("cap", 0.5): ([80.0, 82.0], None)}), table_rows({("cap", 0.5): ([20.0, 22.0], None)})
    for column, value in (("pattern", "2:4"), ("pruner_options", '{"damp": 1}')):
        other = second.assign(**{column: value})
        summary = summarise(pd.concat([first, other]))
        assert sorted(summary["one_shot_mean"]) == [21, 81]
        assert summary["one_shot_n"].tolist() == [2, 2]


def test_columns_of_older_files_count_as_empty(table_rows) -> None:
    rows = table_rows()
    old = rows.drop(columns=["regime", "recipe", "epoch", "agreement", "violations", "predicted_loss_increase"])
    pd.testing.assert_frame_equal(summarise(old), summarise(rows))
