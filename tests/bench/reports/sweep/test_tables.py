from __future__ import annotations

import io
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from bench.core.errors import UserError
from bench.reports.sweep import report, tables
from bench.reports.sweep.figures import accuracy_curves
from bench.reports.sweep.summary import read_paper_values, summarise
from bench.results.store import SCHEMA, Store

TOP1 = {
    # (pruner, sparsity): one-shot, fine-tuned, by seed
    ("magnitude", 0.75): ([60.0, 61.0, 62.0], [85.0, 86.0, 87.0]),
    ("cap", 0.75): ([80.0, 82.0, 87.0], [89.2, 89.4, 89.6]),
    ("magnitude", 0.95): ([10.0, 10.0, 10.0], None),
    ("cap", 0.95): ([40.0, 41.0, 42.0], None),
}


def make_rows(top1: dict, model: str = "vit", family: str = "vit") -> pd.DataFrame:
    rows = []
    for (pruner, sparsity), phases in top1.items():
        for phase, values in zip(("one_shot", "finetuned"), phases, strict=True):
            for seed, value in enumerate(values or ()):
                rows.append({
                    "model": model, "family": family, "pruner": pruner, "sparsity_target": sparsity, "phase": phase,
                    "pattern": str(sparsity), "pruner_options": "{}",
                    "seed": seed, "top1": value, "top1_dense": 90.0, "top1_drop": 90 - value, "n_images": 10_000,
                    "top1_rel_drop": (90 - value) / 0.9, "status": "done", "trial_id": f"{pruner}{seed}",
                    "commit": "c0ffee" * 6, "dirty": False, "device": "cpu",
                })  # fmt: skip
    return pd.DataFrame(rows, columns=SCHEMA.names)


def test_statistics_over_seeds() -> None:
    summary = summarise(make_rows(TOP1)).set_index(["pruner", "sparsity"])
    cell = summary.loc[("cap", 0.75)]
    assert cell["one_shot_mean"] == pytest.approx(83)
    assert cell["one_shot_std"] == pytest.approx(statistics.stdev([80, 82, 87]))
    assert cell["one_shot_n"] == 3
    assert cell["one_shot_drop"] == pytest.approx(7)
    assert cell["finetuned_rel_drop"] == pytest.approx(100 * 0.6 / 90)
    assert pd.isna(summary.loc[("cap", 0.95), "finetuned_mean"])


def test_int8_and_sizes_have_columns_where_they_were_measured() -> None:
    rows = make_rows({("cap", 0.5): ([80.0], [81.0])})
    assert not any("INT8" in column or "KiB" in column for column in tables.detailed(summarise(rows)))
    one_shot, tuned = rows[rows["phase"] == "one_shot"], rows[rows["phase"] == "finetuned"]
    rows = pd.concat([
        one_shot.assign(phase="dense", file_bytes=10_240),
        rows.assign(file_bytes=5_120),
        one_shot.assign(phase="int8", file_bytes=2_048),
        tuned.assign(phase="int8_finetuned"),
    ], ignore_index=True)  # fmt: skip
    (line,) = tables.detailed(summarise(rows)).to_dict("records")
    assert (line["dense KiB"], line["one-shot KiB"], line["INT8 KiB"]) == ("10", "5", "2")
    assert (line["INT8 top-1"], line["INT8 fine-tuned top-1"]) == ("80.00", "81.00")


def test_one_seed_has_no_deviation() -> None:
    summary = summarise(make_rows({("cap", 0.5): ([80.0], None)}))
    assert pd.isna(summary["one_shot_std"][0])
    assert tables.detailed(summary)["one-shot top-1"][0] == "80.00"


def test_failed_and_skipped_rows_do_not_count() -> None:
    rows = make_rows(TOP1)
    rows.loc[0, "status"] = "failed"
    summary = summarise(rows).set_index(["pruner", "sparsity"])
    assert summary.loc[("magnitude", 0.75), "one_shot_n"] == 2


def test_paper_values_stand_beside_ours_only_where_known() -> None:
    paper = pd.DataFrame([{"family": "vit", "paper_model": "x", "pruner": "cap", "sparsity": 0.75,
                           "phase": "one_shot", "top1": 77.7, "source": "made up for this test"}])  # fmt: skip
    shown = tables.detailed(summarise(make_rows(TOP1), paper))
    assert (shown["one-shot paper"] == "77.70").tolist() == [False, False, True, False]
    assert "fine-tuned paper" not in shown, "columns that are empty everywhere are left out"
    groups = make_rows({("cap", 0.75): ([80.0], None)}).assign(pattern="3:12")
    assert "one-shot paper" not in tables.detailed(summarise(groups, paper)), "another pattern"


def test_every_paper_value_has_a_source() -> None:
    paper = read_paper_values(Path(__file__).parents[4] / "results")
    assert paper["source"].str.contains("2210.09223").all()
    assert paper["top1"].between(0, 100).all()


def test_only_seeds_are_averaged() -> None:
    first, second = make_rows({("cap", 0.5): ([80.0, 82.0], None)}), make_rows({("cap", 0.5): ([20.0, 22.0], None)})
    for column, value in (("pattern", "2:4"), ("pruner_options", '{"damp": 1}')):
        other = second.assign(**{column: value})
        summary = summarise(pd.concat([first, other]))
        assert sorted(summary["one_shot_mean"]) == [21, 81]
        assert summary["one_shot_n"].tolist() == [2, 2]


def test_files_and_readme(tmp_path: Path) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    store, rows = Store(tmp_path, "embedded", "table1"), make_rows(TOP1)
    text, values = report.write_tables(rows, store, tmp_path, "Title")
    assert "| vit | CAP | 75 % | 90.00 | 83.00 ± 3.61 | 7.00 | 7.78 |" in text.read_text()
    assert pd.read_csv(values)["one_shot_mean"].max() == 83
    figures = accuracy_curves(summarise(rows), "Title", tmp_path / "figure")
    assert [f.name for f in figures] == ["figure.png", "figure.svg"]
    assert figures[0].read_bytes().startswith(b"\x89PNG")
    svg = figures[1].read_text()
    assert "<!-- CAP one-shot -->" in svg
    again = accuracy_curves(summarise(rows), "Title", tmp_path / "figure")
    assert again[1].read_text() == svg, "the same results give the same file"
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- table1 -->\nstale\n<!-- /table1 -->\nafter\n")
    report.insert(document, "table1", rows)
    assert "stale" not in document.read_text()
    assert "| vit | 90.00 | CAP | 83.00 ± 3.61 | 89.40 ± 0.20 |" in document.read_text()
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")
    document.write_text("no marks")
    with pytest.raises(UserError, match="needs the lines <!-- table1 -->"):
        report.insert(document, "table1", rows)


def test_columns_of_older_files_count_as_empty() -> None:
    rows = make_rows(TOP1)
    old = rows.drop(columns=["regime", "recipe", "epoch", "agreement", "violations", "predicted_loss_increase"])
    pd.testing.assert_frame_equal(summarise(old), summarise(rows))


def test_cells_are_keyed_and_shown_by_pattern(make, frame) -> None:
    rows = frame(
        make("cap", "2:4", [80.0, 82.0], violations=0),
        make("cap", "4:8", [84.0, 88.0], violations=3),
        make("cap", "2:4", [85.0, 86.0], phase="finetuned", violations=1),
        make("cap", "0.5", [70.0, 72.0]),
        make("cap", "0.5@layer", [60.0, 62.0]),
    )
    summary = summarise(rows)
    cells = summary.set_index("pattern")
    assert cells["one_shot_mean"].to_dict() == {"0.5": 71, "0.5@layer": 61, "2:4": 81, "4:8": 86}
    assert cells.loc["2:4", "violations"] == 2, "over both phases"
    assert cells.loc["4:8", "violations"] == 6
    assert pd.isna(cells.loc["0.5", "violations"])
    shown = tables.detailed(summary)
    assert shown["pattern"].tolist() == ["50 %", "2:4", "4:8", "50 % per layer"]
    assert shown["violations"].tolist() == ["", "2", "6", ""]
    assert "sparsity" not in shown
    small = tables.compact(summary)
    assert small.to_dict("records") == [
        {"model": "vit", "dense": "90.00", "pruner": "CAP", "one-shot 50 %": "71.00 ± 1.41",
         "one-shot 2:4": "81.00 ± 1.41", "one-shot 4:8": "86.00 ± 2.83", "fine-tuned 2:4": "85.50 ± 0.71"},
        {"model": "vit", "dense": "90.00", "pruner": "CAP (per layer)", "one-shot 50 %": "61.00 ± 1.41",
         "one-shot 2:4": "", "one-shot 4:8": "", "fine-tuned 2:4": ""},
    ]  # fmt: skip


def test_times_agreement_and_losses_are_averaged(make, frame) -> None:
    rows = frame(
        make("cap", "0.5", [80.0], fit_seconds=1.0, agreement=90.0, predicted_loss_increase=0.1),
        [{**row, "seed": 1} for row in make("cap", "0.5", [82.0], fit_seconds=2.0, agreement=94.0,
                                            predicted_loss_increase=0.3, observed_loss_increase=0.04)],
        make("cap", "0.5", [85.0], phase="finetuned", fit_seconds=1.0, agreement=97.0, predicted_loss_increase=9.0),
    )  # fmt: skip
    [cell] = summarise(rows).to_dict("records")
    assert cell["one_shot_agreement"] == 92
    assert cell["finetuned_agreement"] == 97
    assert cell["predicted_loss_increase"] == pytest.approx(0.2), "of the one-shot models alone"
    assert cell["observed_loss_increase"] == 0.04, "over what was measured"
    assert cell["fit_seconds"] == pytest.approx(4 / 3)
    [line] = tables.detailed(summarise(rows)).to_dict("records")
    assert line == {
        "model": "vit", "pruner": "CAP", "sparsity": "50 %", "dense": "90.00",
        "one-shot top-1": "81.00 ± 1.41", "one-shot drop": "9.00", "one-shot rel. %": "10.00",
        "one-shot agree %": "92.00", "fine-tuned top-1": "85.00", "fine-tuned drop": "5.00",
        "fine-tuned rel. %": "5.56", "fine-tuned agree %": "97.00", "loss + predicted": "0.2",
        "loss + observed": "0.04", "fit s": "1.33", "n": "2, 1",
    }  # fmt: skip


def test_gradual_runs_are_shown_with_their_epochs(make, frame) -> None:
    common = {"regime": "gradual", "phase": "finetuned", "recipe": {"schedule": "sawtooth", "steps": [0.5, 0.9]}}
    rows = frame(make("cap", "0.5", [89.0], epoch=4, **common), make("cap", "0.9", [80.0], epoch=20, **common))
    shown = tables.detailed(summarise(rows))
    assert shown["fine-tuned epochs"].tolist() == ["4", "20"]
    assert not any("one-shot" in column for column in shown)
    assert tables.compact(summarise(rows)).to_dict("records") == [
        {"model": "vit", "dense": "90.00", "pruner": "CAP", "fine-tuned 50 %": "89.00", "fine-tuned 90 %": "80.00"}
    ]


def test_the_compact_table_of_curves_takes_the_nearest_sparsities(make, frame) -> None:
    sparsities = ("0.3", "0.52", "0.7", "0.77", "0.92", "0.98")
    rows = frame(*(make("cap", text, [80.0], fit_seconds=12.34) for text in sparsities))
    [line] = tables.compact(summarise(rows)).to_dict("records")
    assert list(line)[3:] == ["one-shot 52 %", "one-shot 77 %", "one-shot 92 %", "fit s"]
    assert line["fit s"] == "12.3"


def test_a_long_compact_table_has_the_models_as_columns(make, frame) -> None:
    rows = frame(
        *(
            make("cap", "0.5", [80.0 + power], model=model, options={"power": power})
            for model in ("vit", "dino")
            for power in range(13)
        ),
        make("magnitude", "0.5@layer", [50.0, 51.0], model="dino"),
    )
    table = tables.compact(summarise(rows)).set_index("pruner")
    assert list(table.columns) == ["variant", "vit one-shot 50 %", "dino one-shot 50 %"]
    assert table.loc["dense"].tolist() == ["", "90.00", "90.00"]
    assert table.loc["UM"].tolist() == ["", "", "50.50"]
    assert table.loc["CAP"].values.tolist()[3] == ["power=3", "83.00", "83.00"]
    assert len(table) == 15


def test_the_terminal_table_leaves_out_columns_that_do_not_fit(make, frame, tmp_path: Path) -> None:
    extra = {"agreement": 77.0, "fit_seconds": 55.0, "predicted_loss_increase": 0.3, "observed_loss_increase": 0.4}
    rows = frame(
        make("cap", "0.5", [80.0, 82.0], **extra), make("cap", "0.5", [80.0, 82.0], phase="finetuned", **extra)
    )
    shown = {}
    for width in (200, 80):
        console = Console(width=width, file=io.StringIO())
        report.print_report(rows, tmp_path, "Title", console)
        shown[width] = console.file.getvalue()
    assert all(word in shown[200] for word in ("agree %", "loss + predicted", "fit s"))
    assert "81.00 ± 1.41" in shown[80]
    assert "agree %" not in shown[80]
    assert "fit s" in shown[80], "the most dispensable go first"
    assert "…" not in shown[80]


def test_tables_and_pictures_do_not_import_torch() -> None:
    code = (
        "import sys, bench.reports.sweep.report, bench.reports.sweep.figures, bench.reports.sweep.tables, "
        "bench.results.store, bench.cli; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
