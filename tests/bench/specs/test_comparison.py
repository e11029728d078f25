"""Comparisons of a new pruner with others: what runs, the paired statistics, the report."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench import cli
from bench.core.errors import UserError
from bench.reports.comparison import statistics as paired
from bench.reports.comparison.report import Entry, PairedReport, _places
from bench.results.schema import SCHEMA
from bench.specs.comparison import Comparison, plan
from bench.specs.profiles import EMBEDDED

MINE = """
import cap

class Mine(cap.Pruner):
    def __init__(self, power: float = 1.0, block_size: int = 7) -> None:
        self.power = power

    def scores(self, model, layers, calibration):
        return {name: weight.abs() ** self.power for name, weight in layers.items()}

class Picky(Mine):
    def supports(self, pattern):
        return f"Picky dislikes {pattern}" if getattr(pattern, "scope", "") == "global" else None

class Unsure(Mine):
    def supports(self, pattern):
        return self.importance

class Needy(Mine):
    def __init__(self, power):
        pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


# --- statistics


def make_rows(top1: dict, phase: str = "one_shot", model: str = "vit", pattern: str = "0.75") -> pd.DataFrame:
    """Rows of pruners by label, in one cell, with {seed: top-1}."""
    rows = [
        {
            "family": model, "model": model, "pruner": label, "pruner_options": "{}", "pattern": pattern,
            "sparsity_target": float(pattern[:4]), "phase": phase, "seed": seed, "top1": value, "status": "done",
            "top1_dense": 90.0, "fit_seconds": 2.0 + seed, "peak_memory_bytes": (1 + seed) << 20, "n_images": 10_000,
            "trial_id": f"{label}{model}{seed}", "commit": "c0ffee" * 6, "dirty": False, "device": "cpu",
            "calibration_images": 1024,
        }
        for label, values in top1.items()
        for seed, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=SCHEMA.names)


def without_result(label: str, status: str, pattern: str | None, error: str) -> pd.DataFrame:
    [row] = make_rows({label: {0: 0.0}}).to_dict("records")
    phase = "one_shot" if pattern else None
    row |= {"status": status, "pattern": pattern, "error": error, "top1": math.nan, "phase": phase}
    row["sparsity_target"] = float(pattern[:4]) if pattern else math.nan
    return pd.DataFrame([row], columns=SCHEMA.names)


def cells_of(rows: pd.DataFrame, new: str, *against: str) -> pd.DataFrame:
    return paired.compare(rows.assign(label=rows["pruner"]), new, against)


def test_differences_are_those_of_the_paired_t_test() -> None:
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
    assert paired.verdict(shifted) == expected
    assert abs(shift) < 1 or expected != paired.EVEN


def test_one_seed_has_no_interval() -> None:
    old = cells_of(make_rows({"new": {0: 80.0}, "old": {0: 70.0}}), "new", "old").iloc[1]
    assert (old["difference"], old["pairs"], old["verdict"]) == (10, 1, "one seed: no interval")
    assert old[["top1_std", "difference_std", "low", "high"]].isna().all()


def test_pruners_that_do_not_depend_on_the_seed() -> None:
    same = {0: 84.51, 1: 84.51, 2: 84.51}
    for value in (84.5, 84.52, 84.51):
        old = cells_of(make_rows({"new": same, "old": dict.fromkeys(same, value)}), "new", "old").iloc[1]
        assert (old["low"], old["high"]) == pytest.approx((84.51 - value, 84.51 - value), abs=1e-9)
        assert old["verdict"] == paired.ALIKE


def test_only_seeds_that_both_have_are_compared() -> None:
    rows = make_rows({"new": {0: 80.0, 1: 82.0, 2: 84.0}, "old": {1: 70.0, 2: 71.0, 3: 99.0}, "none": {7: 1.0}})
    cells = cells_of(rows, "new", "old", "none").set_index("label")
    assert cells.loc["old", "difference"] == 12.5
    assert cells.loc["old", "pairs"] == 2
    assert cells.loc["old", "n"] == 3
    assert cells.loc["new", "n"] == 3
    assert (cells.loc["none", "pairs"], cells.loc["none", "verdict"]) == (0, paired.NONE)
    assert "they share no seed" in paired.overall(cells.reset_index(), "new", "none")


def test_skipped_and_failed_are_not_compared_and_say_why() -> None:
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


def test_a_pattern_that_the_new_pruner_skips() -> None:
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


def test_overall_counts_every_kind_of_cell() -> None:
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


def test_cells_are_in_the_order_of_the_paper() -> None:
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


def test_report_files(tmp_path: Path) -> None:
    rows = pd.concat([
        make_rows({"mine.py:Mine": {0: 80.0, 1: 81.0}, "cap": {0: 85.0, 1: 86.5}}, phase=phase, pattern=pattern)
        for phase in ("one_shot", "finetuned") for pattern in ("0.50", "0.75@layer")
    ])  # fmt: skip
    rows = pd.concat([rows, without_result("wanda", "skipped", "0.50", "ask for 0.5@layer")])
    entries = [Entry("Mine", "mine.py:Mine", "{}", "mine.py (SHA-256 abc)"), Entry("CAP", "cap", "{}"),
               Entry("wanda", "wanda", "{}")]  # fmt: skip
    report = PairedReport(rows, entries, "Mine against CAP")
    written = report.write(tmp_path / "report")
    assert [path.name for path in written] == ["report.md", "report.csv", "report.png", "report.svg"]
    text = written[0].read_text()
    assert "| vit | 0.50 | one-shot | Mine | 80.50 ± 0.71 | 2 |  |  |  |" in text
    low, high = stats.ttest_rel([80, 81], [85, 86.5]).confidence_interval()
    assert f"|  |  |  | CAP | 85.75 ± 1.06 | 2 | -5.25 | {low:+.2f} to {high:+.2f} | worse |" in text
    assert "wanda skipped 0.50: ask for 0.5@layer (vit)." in text
    assert "mine.py (SHA-256 abc)" in text
    assert "1,024 training images" in text
    assert "| vit | CAP | 2.5 s | 2 MiB |" in text
    assert "![Accuracy and paired differences](report.png)" in text
    assert pd.read_csv(written[1])["difference"].dropna().tolist() == [-5.25] * 4
    assert written[2].read_bytes().startswith(b"\x89PNG")
    assert report.write(tmp_path / "report")[3].read_text() == written[3].read_text()


@pytest.mark.parametrize(
    ("patterns", "places", "ticks"),
    [
        ({"0.5": 0.5, "0.75": 0.75}, [50, 75], ["50 %", "75 %"]),
        ({"0.75": 0.75}, [75], ["75 %"]),
        ({"2:4": 0.5, "1:4": 0.75}, [50, 75], ["2:4", "1:4"]),
        ({"2:4": 0.5, "4:8": 0.5}, [0, 1], ["2:4", "4:8"]),
        ({"0.5": 0.5, "0.5@layer": 0.5, "2:4": 0.5, "0.9": 0.9}, [0, 1, 2, 3], ["0.5", "0.9", "2:4", "0.5@layer"]),
        ({"0.5": 0.5, "0.95": 0.95, "0.98": 0.98}, [0, 1, 2], ["0.5", "0.95", "0.98"]),
    ],
)
def test_no_two_patterns_share_a_place_in_the_figure(patterns: dict, places: list[float], ticks: list[str]) -> None:
    found, labels = _places(pd.DataFrame({"pattern": list(patterns), "sparsity": list(patterns.values())}))
    assert list(found.values()) == places
    assert labels == ticks


def test_nothing_to_compare() -> None:
    rows = pd.concat([make_rows({"cap": {0: 1.0}}), without_result("mine", "failed", None, "boom")])
    with pytest.raises(UserError, match="Mine has no result"):
        PairedReport(rows, [Entry("Mine", "mine", "{}"), Entry("CAP", "cap", "{}")], "title")


def test_statistics_and_report_do_not_import_torch() -> None:
    modules = "bench.reports.comparison.statistics, bench.reports.comparison.report"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what runs


def planned(pruner: str, **changes: object) -> Comparison:
    values = {"options": {}, "against": ("cap", "magnitude"), "models": ("vit", "dino"), "sparsities": ("0.9", "0.5"),
              "seeds": (0, 1)}  # fmt: skip
    return plan(pruner, **{**values, **changes})


def test_all_pruners_get_the_same_data_seeds_and_budget(mine: Path) -> None:
    comparison = planned(f"{mine}:Mine", options={"power": 2})
    trials = comparison.trials
    assert len(trials) == 2 * 2 * 3
    assert {(t.model, t.seed) for t in trials} == {(m, s) for m in ("vit", "dino") for s in (0, 1)}
    assert {t.patterns for t in trials} == {("0.5", "0.9")}
    assert len({t.calibration.model_dump_json() for t in trials}) == 1
    assert [t.pruner for t in trials[:3]] == [f"{mine}:Mine", "cap", "magnitude"], "a model and seed side by side"
    assert len({t.group for t in trials[:3]}) == 1
    assert trials[0].pruner_options == {"power": 2, "block_size": 64}, "the profile sets what it knows"
    assert trials[1].pruner_options["num_gradients"] == 1024
    assert {t.finetune for t in trials} == {None}
    fine = planned(f"{mine}:Mine", finetune=True).trials[0]
    assert (fine.finetune_at, fine.finetune) == (("0.5", "0.9"), EMBEDDED.recipes.finetune)


def test_own_options_take_precedence(mine: Path) -> None:
    assert planned(f"{mine}:Mine", options={"block_size": 3}).new.options == {"power": 1.0, "block_size": 3}
    again = planned("cap", options={"damp": 1e-5})
    assert [one.label for one in again.pruners] == ["CAP (damp=1e-05)", "CAP (damp=1e-08)", "GM"]


def test_settings_that_a_profile_shares() -> None:
    assert EMBEDDED.pruner_options("cap") == {"block_size": 64, "num_gradients": 1024, "damp": 1e-8}
    assert EMBEDDED.pruner_options("gradient_weight") == {"num_gradients": 1024}
    assert EMBEDDED.pruner_options("magnitude") == {}
    assert EMBEDDED.pruner_options("mfac")["block_size"] == 2048


def test_a_trial_does_not_depend_on_how_the_command_was_written(mine: Path, monkeypatch) -> None:
    monkeypatch.chdir(mine.parent)
    one = planned("mine.py:Mine")
    other = planned("./mine.py:Mine", sparsities=("0.50", "0.9"))
    assert [t.id for t in one.trials] == [t.id for t in other.trials]
    assert one.name == other.name
    names = {planned("mine.py:Mine", **change).name for change in (
        {"options": {"power": 2}}, {"seeds": (0,)}, {"models": ("vit",)}, {"against": ("cap",)}, {"finetune": True},
        {"sparsities": ("0.5",)},
    )}  # fmt: skip
    assert len(names | {one.name}) == 7, "no comparison overwrites another"
    assert one.name.startswith("Mine-")


@pytest.mark.parametrize(
    ("pruner", "changes", "message"),
    [
        ("mine.py:Mine", {"models": ("resnet",)}, "unknown model 'resnet' in profile 'embedded': choose from convnext"),
        ("mine.py:Mine", {"models": ("vit", "vit")}, "--model has vit twice"),
        ("mine.py:Mine", {"sparsities": ("1.5",)}, "--sparsity: sparsity 1.5 is out of range"),
        ("mine.py:Mine", {"sparsities": ("half",)}, "'half' is no pattern: write 0.75"),
        ("mine.py:Mine", {"sparsities": ("0.5", "0.50")}, "--sparsity has 0.5 twice"),
        ("mine.py:Mine", {"sparsities": ()}, "--sparsity has no value"),
        ("mine.py:Mine", {"sparsities": ("3:5",)}, "--sparsity 3:5 does not fit model vit: .* no multiple of 5"),
        ("mine.py:Mine", {"seeds": (0, 1, 0)}, "--seeds has 0 twice"),
        ("mine.py:Mine", {"seeds": ()}, "--seeds has no value: give at least one"),
        ("mine.py:Mine", {"seeds": (-1,)}, "a seed is at least 0"),
        ("mine.py:Mine", {"against": ()}, "--against has no value"),
        ("mine.py:Mine", {"against": ("cap", "cap")}, "--against has cap twice"),
        ("mine.py:Mine", {"against": ("capp",)}, "unknown pruner 'capp': choose from cap"),
        ("mine.py:Mine", {"against": ("./mine.py:Mine",)}, "mine.py:Mine stands twice with the same options"),
        ("mine.py:Mine", {"profile": "laptop"}, "unknown profile 'laptop': choose from embedded"),
        ("mine.py:Mine", {"options": {"powre": 1}}, "no option powre: its options are power=1.0, block_size=7"),
        ("mine.py:Mine", {"against": ("wanda", "obc")}, "no pruner of --against supports 0.5 or 0.9, .* ask for 0.5@l"),
        ("mine.py:Yours", {}, "has no pruner class 'Yours'; it has Mine"),
        ("mine.py:Needy", {}, "mine.py:Needy: power has no default: give it with --option power=VALUE"),
        ("mine.py:Unsure", {}, "supports\\(\\) raised AttributeError: .*; it must answer before fit"),
        ("other.py:Mine", {}, "pruner file other.py does not exist"),
        ("cap", {}, "cap stands twice with the same options"),
        ("cap", {"options": {"damp": -1}}, "damp=-1 is not valid"),
        ("mfac", {"options": {"num_gradients": 2000}}, "2000 per-sample gradients need as many calibration images"),
        ("mine.py:Picky", {}, "supports no pattern of --sparsity: of 0.5, 0.5@layer, 0.5@blocks4, 2:4 it supports "
         "0.5@layer and 0.5@blocks4 and 2:4 .0.5: Picky dislikes 0.5; 0.9: Picky dislikes 0.9."),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_work(mine: Path, monkeypatch, pruner: str, changes: dict, message) -> None:
    monkeypatch.chdir(mine.parent)
    with pytest.raises(UserError, match=message):
        planned(pruner, **changes)


def test_patterns_that_some_skip_are_announced(mine: Path) -> None:
    comparison = planned(f"{mine}:Picky", against=("wanda", "cap"), sparsities=("0.5", "0.5@layer"))
    lines = list(comparison.refusals())
    assert lines[0] == "Picky skips 0.5: Picky dislikes 0.5"
    assert lines[1].startswith("Wanda skips 0.5: ")
    assert lines[1].endswith("ask for 0.5@layer")
    assert len(lines) == 2


def test_options_are_json_where_they_can_be() -> None:
    texts = ("a=1e-8", "b=true", "c=[1, 2]", "d=some text", "e=null", "f=", "g=x=y")
    assert cli._options(texts) == {
        "a": 1e-8, "b": True, "c": [1, 2], "d": "some text", "e": None, "f": "", "g": "x=y",
    }  # fmt: skip


def test_a_pruner_from_outside_the_repository(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = mine.parent / "results"
    command = ["compare", "--pruner", f"{mine}:Mine", "--option", "power=-1", "--against", "magnitude", "--model",
               "vit", "--sparsity", "0.5", "--seeds", "0", "1", "--results", str(results), "--jobs", "1"]  # fmt: skip
    cli.main(command)
    out = capsys.readouterr().out
    assert "4 trials, 0 done, 4 to run" in out
    assert "Mine against GM: better in 0 of 1 cells, worse in 0, no difference shown in 0, the same difference" in out
    folder = results / "embedded/compare"
    [report] = folder.glob("Mine-*.md")
    assert {path.suffix for path in folder.glob("Mine-*")} == {".md", ".csv", ".png", ".svg", ".parquet"}
    assert not list((results / "embedded").glob("*.parquet")), "no sweep's results are touched"
    cells = pd.read_csv(report.with_suffix(".csv"))
    assert cells["label"].tolist() == ["Mine", "GM"]
    assert cells["n"].tolist() == [2, 2]
    assert cells["top1_mean"].tolist()[1] == pytest.approx(88.31, abs=0.1), "as in Table 1"
    assert cells.loc[1, "low"] == pytest.approx(cells.loc[1, "high"]), "neither depends on the seed"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert sum(path.suffix == ".parquet" for path in before) == 2 * 4, "of each trial its row and its layers' rows"

    cli.main(command)
    assert "4 trials, 4 done, 0 to run" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith("Mine")}
    assert after == before

    mine.write_text(f"{MINE}\n# changed")
    cli.main([*command, "--dry-run"])
    out = capsys.readouterr().out
    assert "4 trials, 2 done, 2 to run" in out
    assert "magnitude seed" not in out


def test_defaults_that_the_profile_replaces_are_told(mine: Path) -> None:
    told = planned(f"{mine}:Mine", against=("cap",)).overrides()
    assert told == "Mine runs with block_size=64, as the others; --option sets another value"
    assert planned(f"{mine}:Mine", options={"block_size": 8}, against=("cap",)).overrides() is None
    assert planned("magnitude", against=("cap",)).overrides() is None
