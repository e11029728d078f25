from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.reports.comparison import statistics as paired
from bench.results.predictions import PredictionRow, Predictions, encode
from bench.statistics.bootstrap import difference, draw_resampling, two_level
from bench.statistics.estimate import mean_of_units

MakeRows = Callable[..., pd.DataFrame]


def cells_of(rows: pd.DataFrame, new: str, *against: str) -> pd.DataFrame:
    return paired.compare(rows.assign(label=rows["pruner"]), new, against)


def test_differences_are_those_of_the_paired_t_test(make_rows: MakeRows) -> None:
    one, other = {0: 80.0, 1: 82.0, 2: 87.0, 5: 80.5}, {5: 79.0, 2: 84.0, 0: 79.5, 1: 82.5}
    cells = cells_of(make_rows({"new": one, "old": other}), "new", "old")
    assert cells["label"].tolist() == ["new", "old"]
    new, old = cells.iloc[0], cells.iloc[1]
    seeds = sorted(one)
    test = stats.ttest_rel([one[s] for s in seeds], [other[s] for s in seeds])
    expected = test.confidence_interval(0.95)
    assert (old["low"], old["high"]) == pytest.approx((expected.low, expected.high))
    assert old["difference"] == pytest.approx((0.5 - 0.5 + 3 + 1.5) / 4)
    assert old["difference_std"] == pytest.approx(np.std([0.5, -0.5, 3, 1.5], ddof=1))
    assert old["pairs"] == 4
    assert (old["verdict"] == paired.EVEN) == (test.pvalue > 0.05)
    assert (new["top1_mean"], new["n"]) == (pytest.approx(82.375), 4)
    assert new["top1_std"] == pytest.approx(np.std(list(one.values()), ddof=1))
    assert (new["fit_seconds"], new["peak_memory_bytes"]) == (2 + 8 / 4, 6 << 20)
    assert pd.isna(new["verdict"])
    assert pd.isna(new["pairs"])


@pytest.mark.parametrize("shift", [0.0, 0.8, 1.2, -0.8, -1.2])
def test_a_verdict_is_significance_at_five_percent(shift: float) -> None:
    noise = np.array([0.3, -0.5, 0.2, 0.4, -0.4])  # mean 0; the half width of its interval is about 0.5
    shifted = 0.5 * shift + noise
    expected = paired.EVEN
    if stats.ttest_1samp(shifted, 0).pvalue < 0.05:
        expected = paired.BETTER if shift > 0 else paired.WORSE
    assert paired.verdict(mean_of_units(shifted)) == expected
    assert abs(shift) < 1 or expected != paired.EVEN


def with_predictions(rows: pd.DataFrame, correct: dict[str, np.ndarray]) -> Predictions:
    """Returns predictions of the rows of each label, (seeds, images), True where the class is right."""
    found = {}
    for label, right in correct.items():
        for row, one in zip(rows[rows["pruner"] == label].itertuples(), right, strict=True):
            labels = encode(np.zeros(len(one), int))
            state = PredictionRow(row.trial_id, row.pattern, row.phase, len(one), encode((~one).astype(int)), labels)
            found[row.trial_id, row.pattern, row.phase] = state
    return Predictions(found)


def right_and_rows(make_rows: MakeRows, *shares: float) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    draws = np.random.default_rng(0).random((3, 2000))
    right = {label: draws < share for label, share in zip(("new", "old"), shares, strict=True)}
    return right, make_rows({label: dict(enumerate(100 * one.mean(1))) for label, one in right.items()})


def test_with_predictions_the_interval_is_that_of_seeds_and_images(make_rows: MakeRows) -> None:
    right, rows = right_and_rows(make_rows, 0.83, 0.80)
    predictions = with_predictions(rows, right)
    old = paired.compare(rows.assign(label=rows["pruner"]), "new", ["old"], predictions).iloc[1]
    expected = two_level(difference, (right["new"], right["old"]), draw_resampling(3, 2000))
    assert (old["low"], old["high"]) == pytest.approx(expected.interval())
    assert old["difference"] == pytest.approx(expected.value)
    assert old["verdict"] == paired.BETTER
    without = cells_of(rows, "new", "old").iloc[1]
    assert (without["low"], without["high"]) != pytest.approx(expected.interval())
    del predictions.rows[rows["trial_id"].iloc[0], "0.75", "one_shot"]
    partly = paired.compare(rows.assign(label=rows["pruner"]), "new", ["old"], predictions).iloc[1]
    assert partly["low"] == without["low"], "one seed lacks its predictions"


def test_images_decide_where_no_pruner_depends_on_the_seed(make_rows: MakeRows) -> None:
    same = {"new": np.arange(400) < 360, "old": np.arange(400) < 300}
    right = {label: np.stack([one] * 3) for label, one in same.items()}
    rows = make_rows({label: dict.fromkeys(range(3), 100 * one.mean()) for label, one in same.items()})
    predictions = with_predictions(rows, right)
    cells = paired.compare(rows.assign(label=rows["pruner"]), "new", ["old"], predictions)
    assert cells["verdict"].iloc[1] == paired.BETTER
    assert cells_of(rows, "new", "old")["verdict"].iloc[1] == paired.ALIKE


def test_an_undecided_pair_says_how_many_seeds_would_do(make_rows: MakeRows) -> None:
    differences = {0: 1.0, 1: -0.5, 2: 0.9, 3: -0.2}
    even = dict.fromkeys(range(4), 80.0)
    rows = make_rows({"new": {seed: even[seed] + one for seed, one in differences.items()}, "old": even})
    old = cells_of(rows, "new", "old").iloc[1]
    assert old["verdict"] == paired.EVEN
    size = np.mean([*differences.values()]) / np.std([*differences.values()], ddof=1)
    needed = int(old["seeds_to_decide"])
    powers = [stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, size * np.sqrt(n)) for n in (needed - 1, needed)]
    assert powers[0] < 0.8 <= powers[1]
    far = cells_of(make_rows({"new": {0: 80.0, 1: 80.1, 2: 80.0}, "old": dict.fromkeys(range(3), 70.0)}), "new", "old")
    assert far["verdict"].iloc[1] == paired.BETTER
    assert far["seeds_to_decide"].isna().all()


def test_one_seed_has_no_interval(make_rows: MakeRows) -> None:
    old = cells_of(make_rows({"new": {0: 80.0}, "old": {0: 70.0}}), "new", "old").iloc[1]
    assert (old["difference"], old["pairs"], old["verdict"]) == (10, 1, "one seed: no interval")
    assert old[["top1_std", "difference_std", "low", "high"]].isna().all()


def test_pruners_that_do_not_depend_on_the_seed(make_rows: MakeRows) -> None:
    same = {0: 84.51, 1: 84.51, 2: 84.51}
    for value in (84.5, 84.52, 84.51):
        old = cells_of(make_rows({"new": same, "old": dict.fromkeys(same, value)}), "new", "old").iloc[1]
        assert (old["low"], old["high"]) == pytest.approx((84.51 - value, 84.51 - value), abs=1e-9)
        assert old["verdict"] == paired.ALIKE


def test_only_seeds_that_both_have_are_compared(make_rows: MakeRows) -> None:
    rows = make_rows({"new": {0: 80.0, 1: 82.0, 2: 84.0}, "old": {1: 70.0, 2: 71.0, 3: 99.0}, "none": {7: 1.0}})
    cells = cells_of(rows, "new", "old", "none").set_index("label")
    assert cells.loc["old", "difference"] == 12.5
    assert cells.loc["old", "pairs"] == 2
    assert cells.loc["old", "n"] == 3
    assert cells.loc["new", "n"] == 3
    assert (cells.loc["none", "pairs"], cells.loc["none", "verdict"]) == (0, paired.NONE)
    assert "they share no seed" in paired.overall(cells.reset_index(), "new", "none")


def test_skipped_and_failed_are_not_compared_and_say_why(make_rows: MakeRows, without_result: MakeRows) -> None:
    rows = pd.concat([
        make_rows({"new": {0: 80.0, 1: 81.0}, "old": {0: 70.0, 1: 71.5}}),
        without_result("layerwise", "skipped", "0.75", "ask for 0.75@layer"),
        without_result("broken", "failed", None, "ZeroDivisionError: half way"),
    ])  # fmt: skip
    cells = cells_of(rows, "new", "old", "layerwise", "broken", "absent").set_index("label")
    assert cells["status"].tolist() == ["done", "done", "skipped", "failed", "failed"]
    assert cells["reason"].tolist()[2:] == ["ask for 0.75@layer", "ZeroDivisionError: half way", "no result"]
    assert cells["verdict"].tolist()[1:] == [paired.BETTER, *[paired.NONE] * 3]
    line = paired.overall(cells.reset_index(), "new", "layerwise")
    assert line == "new against layerwise: not compared, layerwise skipped 0.75."


def test_a_pattern_that_the_new_pruner_skips(make_rows: MakeRows, without_result: MakeRows) -> None:
    rows = pd.concat([
        make_rows({"new": {0: 80.0, 1: 81.0}, "old": {0: 70.0, 1: 71.5}}),
        make_rows({"old": {0: 60.0, 1: 61.0}}, pattern="0.90"),
        make_rows({"old": {0: 62.0, 1: 63.0}}, pattern="0.90", phase="finetuned"),
        without_result("new", "skipped", "0.90", "too much"),
    ])  # fmt: skip
    cells = cells_of(rows, "new", "old")
    found = cells[cells["label"] == "new"]
    assert found[["pattern", "phase", "status"]].values.tolist() == [
        ["0.75", "one_shot", "done"], ["0.90", "one_shot", "skipped"], ["0.90", "finetuned", "skipped"],
    ]  # fmt: skip
    assert found["reason"].tolist()[1:] == ["too much"] * 2
    line = paired.overall(cells, "new", "old")
    assert "better in 1 of 1 cells, worse in 0, no difference shown in 0, 2 more not compared" in line
    assert line.endswith("mean difference +9.75 points of top-1.")


def test_overall_counts_every_kind_of_cell(make_rows: MakeRows) -> None:
    rows = pd.concat([
        make_rows({"new": {0: 80.0, 1: 81.0}, "old": {0: 70.0, 1: 71.2}}, pattern="0.50"),
        make_rows({"new": {0: 70.0, 1: 71.0}, "old": {0: 72.0, 1: 73.1}}),
        make_rows({"new": {0: 70.0, 1: 70.0}, "old": {0: 60.0, 1: 79.0}}, pattern="0.90"),
        make_rows({"new": {0: 70.0}, "old": {0: 72.0}}, pattern="0.95"),
    ])  # fmt: skip
    assert paired.overall(cells_of(rows, "new", "old"), "new", "old") == (
        "new against old: better in 1 of 4 cells, worse in 1, no difference shown in 1, one seed and so no interval in "
        "1; mean difference +1.59 points of top-1."
    )


def test_cells_are_in_the_order_of_the_paper(make_rows: MakeRows) -> None:
    rows = pd.concat([
        make_rows({"new": {0: 1.0}, "old": {0: 1.0}}, phase=phase, model=model, pattern=pattern)
        for phase in ("finetuned", "one_shot") for model in ("dino", "vit") for pattern in ("0.90", "0.50")
    ])  # fmt: skip
    cells = cells_of(rows, "new", "old")
    assert cells.loc[cells["label"] == "new", ["model", "pattern", "phase"]].values.tolist() == [
        [model, pattern, phase]
        for model in ("vit", "dino") for pattern in ("0.50", "0.90") for phase in ("one_shot", "finetuned")
    ]  # fmt: skip


def test_labels_tell_pruners_apart() -> None:
    assert paired.labels([("a/mine.py:Mine", {}), ("cap", {}), ("wanda", {})]) == ["Mine", "CAP", "Wanda"]
    options = [("cap", {"damp": 1e-6, "block_size": 64}), ("cap", {"damp": 1e-8, "block_size": 64})]
    assert paired.labels(options) == ["CAP (damp=1e-06)", "CAP (damp=1e-08)"]
    assert paired.labels([("mine.py:CAP", {"x": 1}), ("cap", {"x": 2})]) == ["CAP (mine.py)", "CAP"]
    assert paired.labels([("a.py:P", {}), ("b.py:P", {})]) == ["P (a.py)", "P (b.py)"]
    assert paired.labels([("mine.py:cap", {})]) == ["cap"], "a class of that name is not the registered pruner"
