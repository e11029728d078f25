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
    assert paper["source"].str.contains(r"arXiv \d{4}\.\d{5}").all()
    known = paper["top1"].notna()
    assert paper.loc[known, "top1"].between(0, 100).all()
    assert paper.loc[~known, "note"].str.contains("not read").all(), "a value that nobody has read says so"


def test_published_values_are_of_the_same_network_or_else_of_the_family(make, frame) -> None:
    paper = pd.DataFrame(
        [("cnn", "resnet50", "cap", 75.0), (None, "resnet20", "cap", 80.0), (None, "resnet20", "CHITA++", 88.0),
         (None, "resnet20", "chita", 60.0), (None, "resnet20", "magnitude", float("nan"))],
        columns=["family", "paper_model", "pruner", "top1"],
    ).assign(sparsity=0.5, phase="one_shot", source="made up for this test")  # fmt: skip
    rows = frame(
        make("cap", "0.5", [1.0], model="resnet20", family="cnn"),
        make("cap", "0.5", [2.0], model="resnet50d", family="cnn"),
        make("magnitude", "0.5", [3.0], model="resnet20", family="cnn"),
        make("chita", "0.5", [4.0], model="resnet20", family="cnn", options={"stages": 1}),
        make("chita", "0.5", [5.0], model="resnet20", family="cnn", options={"stages": 16}),
    )
    found = summarise(rows, paper).set_index(["model", "method"])["one_shot_paper"]
    assert found["resnet20", "CAP"] == 80
    assert found["resnet50d", "CAP"] == 75
    assert pd.isna(found["resnet20", "GM"]), "not read"
    assert found["resnet20", "CHITA"] == 60
    assert found["resnet20", "CHITA++"] == 88


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


def test_the_dense_accuracy_is_the_mean_of_the_dense_models(make, frame) -> None:
    rows = frame(make("cap", "0.5", [80.0, 82.0, 84.0]))
    rows["top1_dense"] = rows["seed"].map({0: 88.0, 1: 89.0, 2: 90.5})
    rows["dense_seed"] = rows["seed"]
    assert summarise(rows)["dense"].tolist() == [pytest.approx(89.166667, abs=1e-6)]
