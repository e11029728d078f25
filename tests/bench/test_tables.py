from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench import report, tables
from bench.errors import UserError
from bench.plots import accuracy_curves
from bench.store import SCHEMA, Store

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
    summary = tables.summarise(make_rows(TOP1)).set_index(["pruner", "sparsity"])
    cell = summary.loc[("cap", 0.75)]
    assert cell["one_shot_mean"] == pytest.approx(83)
    assert cell["one_shot_std"] == pytest.approx(statistics.stdev([80, 82, 87]))
    assert cell["one_shot_n"] == 3
    assert cell["one_shot_drop"] == pytest.approx(7)
    assert cell["finetuned_rel_drop"] == pytest.approx(100 * 0.6 / 90)
    assert pd.isna(summary.loc[("cap", 0.95), "finetuned_mean"])


def test_one_seed_has_no_deviation() -> None:
    summary = tables.summarise(make_rows({("cap", 0.5): ([80.0], None)}))
    assert pd.isna(summary["one_shot_std"][0])
    assert tables.detailed(summary)["one-shot top-1"][0] == "80.00"


def test_failed_and_skipped_rows_do_not_count() -> None:
    rows = make_rows(TOP1)
    rows.loc[0, "status"] = "failed"
    summary = tables.summarise(rows).set_index(["pruner", "sparsity"])
    assert summary.loc[("magnitude", 0.75), "one_shot_n"] == 2


def test_paper_values_stand_beside_ours_only_where_known() -> None:
    paper = pd.DataFrame([{"family": "vit", "paper_model": "x", "pruner": "cap", "sparsity": 0.75,
                           "phase": "one_shot", "top1": 77.7, "source": "made up for this test"}])  # fmt: skip
    shown = tables.detailed(tables.summarise(make_rows(TOP1), paper))
    assert (shown["one-shot paper"] == "77.70").tolist() == [False, False, True, False]
    assert set(shown["fine-tuned paper"]) == {""}


def test_every_paper_value_has_a_source() -> None:
    paper = tables.read_paper_values(Path(__file__).parents[2] / "results")
    assert paper["source"].str.contains("2210.09223").all()
    assert paper["top1"].between(0, 100).all()


def test_c1_verdict() -> None:
    good = tables.summarise(make_rows(TOP1))
    assert "holds, on 1 of 1 models" in tables.verdict_c1(good)
    assert "vit 0.67 % (before it 7.78 %)" in tables.verdict_c1(good)
    worse = make_rows({("cap", 0.75): ([80.0], [88.0])}, "xcit", "hybrid")
    both = tables.summarise(pd.concat([make_rows(TOP1), worse]))
    assert "holds in part, on 1 of 2 models" in tables.verdict_c1(both)
    assert "does not hold, on 0 of 1" in tables.verdict_c1(tables.summarise(worse))
    assert "not tested" in tables.verdict_c1(tables.summarise(make_rows({("magnitude", 0.75): ([1.0], [2.0])})))


def test_c2_verdict() -> None:
    verdict = tables.verdict_c2(make_rows(TOP1))
    assert "holds, CAP's mean is the highest in 2 of 2 cells" in verdict
    assert "in 2 it beats the best other pruner with every seed" in verdict
    assert "75 %: +22.00, 95 %: +31.00" in verdict
    assert "larger at 95 % than at the lowest sparsity" in verdict
    turned = {(("magnitude" if p == "cap" else "cap"), s): v for (p, s), v in TOP1.items()}
    assert "does not hold" in tables.verdict_c2(make_rows(turned))
    assert "not tested" in tables.verdict_c2(make_rows({("cap", 0.75): ([1.0], None)}))
    apart = {("cap", 0.75): ([1.0], None), ("magnitude", 0.5): ([1.0], None)}
    assert "not tested" in tables.verdict_c2(make_rows(apart))


def test_only_seeds_are_averaged() -> None:
    first, second = make_rows({("cap", 0.5): ([80.0, 82.0], None)}), make_rows({("cap", 0.5): ([20.0, 22.0], None)})
    for column, value in (("pattern", "2:4"), ("pruner_options", '{"damp": 1}')):
        other = second.assign(**{column: value})
        summary = tables.summarise(pd.concat([first, other]))
        assert sorted(summary["one_shot_mean"]) == [21, 81]
        assert summary["one_shot_n"].tolist() == [2, 2]


def test_files_and_readme(tmp_path: Path) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    store, rows = Store(tmp_path, "embedded", "table1"), make_rows(TOP1)
    text, values = report.write_tables(rows, store, tmp_path, "Title")
    assert "| vit | CAP | 75 % | 90.00 | 83.00 ± 3.61 | 7.00 | 7.78 |" in text.read_text()
    assert pd.read_csv(values)["one_shot_mean"].max() == 83
    figures = accuracy_curves(tables.summarise(rows), "Title", tmp_path / "figure")
    assert [f.name for f in figures] == ["figure.png", "figure.svg"]
    assert figures[0].read_bytes().startswith(b"\x89PNG")
    svg = figures[1].read_text()
    assert "CAP one-shot" in svg or "<svg" in svg
    again = accuracy_curves(tables.summarise(rows), "Title", tmp_path / "figure")
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


def test_tables_and_pictures_do_not_import_torch() -> None:
    code = (
        "import sys, bench.report, bench.plots, bench.tables, bench.store, bench.cli; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
