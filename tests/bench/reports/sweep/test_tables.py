from __future__ import annotations

import pandas as pd
import pytest

from bench.reports.sweep import tables
from bench.reports.sweep.summary import summarise


def test_int8_and_sizes_have_columns_where_they_were_measured(table_rows) -> None:
    rows = table_rows({("cap", 0.5): ([80.0], [81.0])})
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


def test_one_seed_has_no_deviation(table_rows) -> None:
    summary = summarise(table_rows({("cap", 0.5): ([80.0], None)}))
    assert pd.isna(summary["one_shot_std"][0])
    assert tables.detailed(summary)["one-shot top-1"][0] == "80.00"


def test_paper_values_stand_beside_ours_only_where_known(table_rows) -> None:
    paper = pd.DataFrame([{"family": "vit", "paper_model": "x", "pruner": "cap", "sparsity": 0.75,
                           "phase": "one_shot", "top1": 77.7, "source": "made up for this test"}])  # fmt: skip
    shown = tables.detailed(summarise(table_rows(), paper))
    assert (shown["one-shot published"] == "77.70").tolist() == [False, False, True, False]
    assert "fine-tuned published" not in shown, "columns that are empty everywhere are left out"
    groups = table_rows({("cap", 0.75): ([80.0], None)}).assign(pattern="3:12")
    assert "one-shot published" not in tables.detailed(summarise(groups, paper)), "another pattern"


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
