"""`capbench compare`: paired statistics against scipy's test, the trials that it plans, one comparison end to end."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.cli import main
from bench.errors import UserError
from bench.paired import compare, interval, labels, overall, verdict

MINE = """
import cap

class Mine(cap.Pruner):
    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def scores(self, model, layers, calibration):
        total = {name: 0.0 for name in layers}
        for gradients in calibration.gradients(model, layers):
            for name, rows in gradients.items():
                total[name] = total[name] + rows.abs().sum(0)
        return {name: weight.abs() * total[name].view_as(weight) ** self.power for name, weight in layers.items()}
"""


def rows_of(tops: dict[str, dict[int, float]], pattern: str = "0.75", **more) -> pd.DataFrame:
    """Rows of one model; {label: {seed: top-1}}."""
    return pd.DataFrame(
        {
            "label": name, "family": "vit", "model": "vit", "pattern": pattern, "sparsity_target": 0.75,
            "phase": "one_shot", "status": "done", "error": None, "seed": seed, "top1": top1, "top1_dense": 88.0,
            "fit_seconds": 2.0, "peak_memory_bytes": 2**20, **more,
        }
        for name, values in tops.items()
        for seed, top1 in values.items()
    )  # fmt: skip


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    ours, theirs = np.array([80.1, 81.3, 79.9, 80.8]), np.array([79.0, 80.9, 79.5, 78.8])
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert interval(ours - theirs) == pytest.approx((expected.low, expected.high))
    assert (verdict(ours - theirs) == "better") == (stats.ttest_rel(ours, theirs).pvalue < 0.05)


def test_verdicts() -> None:
    assert verdict(np.array([2.0, 2.1, 1.9])) == "better"
    assert verdict(np.array([-2.0, -2.1, -1.9])) == "worse"
    assert verdict(np.array([-2.0, 2.1, 0.4])) == "no difference shown"
    assert verdict(np.array([5.0])) == "one seed: no interval"
    assert verdict(np.array([])) == "not compared"
    assert verdict(np.array([1.5, 1.5])) == "the same for every seed: no interval"
    assert all(map(math.isnan, interval(np.array([5.0]))))


def test_cells_are_paired_by_seed() -> None:
    rows = rows_of({"new": {0: 80.0, 1: 82.0, 2: 81.0}, "old": {0: 79.0, 2: 79.5, 7: 10.0}})
    new, old = compare(rows, "new", ["old"]).to_dict("records")
    assert (new["top1_mean"], new["top1_std"], new["n"]) == (81.0, 1.0, 3)
    assert old["pairs"] == 2  # seeds 0 and 2
    assert old["difference"] == pytest.approx((1.0 + 1.5) / 2)
    assert old["difference_std"] == pytest.approx(math.sqrt(0.125))
    assert old["verdict"] == "no difference shown"


def test_one_seed_has_neither_deviation_nor_interval() -> None:
    cells = compare(rows_of({"new": {0: 80.0}, "old": {0: 79.0}}), "new", ["old"])
    assert cells["top1_std"].isna().all()
    assert cells["low"].isna().all()
    assert "one seed and so no interval in 1" in overall(cells, "new", "old")


def test_a_skipped_pattern_says_why() -> None:
    refused = {"status": "skipped", "error": "has no scores that compare layers"}
    nothing = {0: float("nan"), 1: float("nan")}
    rows = pd.concat([rows_of({"new": {0: 80.0, 1: 81.0}}), rows_of({"old": nothing}, **refused)])
    _, old = compare(rows, "new", ["old"]).to_dict("records")
    assert (old["status"], old["reason"]) == ("skipped", "has no scores that compare layers")
    assert overall(compare(rows, "new", ["old"]), "new", "old").startswith("new against old: not compared")


def test_labels_tell_pruners_apart() -> None:
    assert labels([("cap", {}), ("a/mine.py:Mine", {})]) == ["CAP", "Mine"]
    assert labels([("a/mine.py:Mine", {}), ("b/mine.py:Mine", {})]) == ["Mine (a/mine.py)", "Mine (b/mine.py)"]
    assert labels([("cap", {"damp": 1e-7}), ("cap", {"damp": 1e-8})]) == ["CAP (damp=1e-07)", "CAP (damp=1e-08)"]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return f"{path}:Mine"


def test_all_see_the_same_and_the_profile_sets_the_pruners(mine: str) -> None:
    from bench.compare import plan

    planned = plan(mine, {"power": 2}, ["cap", "magnitude"], ["vit"], ["0.9", "0.5"], [0, 1])
    assert len(planned.trials) == 6
    assert {trial.patterns for trial in planned.trials} == {("0.5", "0.9")}
    assert len({trial.calibration for trial in planned.trials}) == 1
    by_pruner = {trial.pruner: trial.pruner_options for trial in planned.trials}
    assert by_pruner[mine] == {"power": 2}
    assert by_pruner["cap"]["block_size"] == 64
    assert planned.trials[0].derived_seed("calibration") == planned.trials[1].derived_seed("calibration")
    assert planned.overrides() is None
    assert "woodfisher" not in (own := plan("woodfisher", {}, ["cap"], ["vit"], ["0.5"], [0]).overrides() or "")
    assert own.startswith("WF runs with block_size=64, num_gradients=1024, as the others")
    assert planned.name != plan(mine, {"power": 1}, ["cap", "magnitude"], ["vit"], ["0.9", "0.5"], [0, 1]).name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"against": ["magnitude", "magnitude"]}, "--against has magnitude twice"),
        ({"seeds": [0, 0]}, "--seeds has 0 twice"),
        ({"seeds": []}, "--seeds has no value"),
        ({"sparsities": ["1.5"]}, "--sparsity: sparsity 1.5 is out of range"),
        ({"models": ["alexnet"]}, "unknown model 'alexnet'"),
        ({"against": ["obs"]}, "unknown pruner 'obs'"),
        ({"options": {"powr": 2}}, "has no option powr"),
        ({"pruner": "magnitude", "options": {}}, "stands twice with the same options"),
        ({"pruner": "wanda", "options": {}}, "ask for 0.9@layer"),
        ({"sparsities": ["2:5"]}, "does not fit model vit"),
    ],
)
def test_mistakes_are_found_before_any_work(mine: str, arguments: dict, message: str) -> None:
    from bench.compare import plan

    valid = {"pruner": mine, "options": {}, "against": ["magnitude"], "models": ["vit"], "sparsities": ["0.9"]}
    with pytest.raises(UserError, match=message):
        plan(**{**valid, "seeds": [0], **arguments})


def test_a_pruner_from_outside_the_repository(mine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--pruner", mine, "--option", "power=0.5", "--against", "magnitude", "--model", "vit",
                 "--sparsity", "0.75", "--seeds", "0", "1", "--jobs", "1", "--results", str(tmp_path)]  # fmt: skip
    main(arguments)
    out = capsys.readouterr().out
    assert "Mine against GM (embedded): 4 trials, 0 done, 4 to run" in out
    assert "Mine against GM: " in out
    written = sorted(path.suffix for path in (tmp_path / "embedded/compare").iterdir() if path.stem.startswith("Mine-"))
    assert {".csv", ".md", ".parquet", ".png", ".svg"} <= set(written)
    (report,) = (tmp_path / "embedded/compare").glob("Mine-*.md")
    (values,) = (tmp_path / "embedded/compare").glob("Mine-*.csv")
    cells = pd.read_csv(values)
    assert cells["label"].tolist() == ["Mine", "GM"]
    difference = cells["top1_mean"][0] - cells["top1_mean"][1]
    assert cells["difference"][1] == pytest.approx(difference, abs=1e-3)
    assert f"{difference:+.2f}" in report.read_text()
    main(arguments)
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out
