from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console

from bench.reports.sweep import report
from bench.reports.sweep.figures.curves import accuracy_curves
from bench.reports.sweep.summary import summarise
from bench.results.store import Store


def test_files_and_readme(table_rows, tmp_path: Path) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "paper_values.csv").write_text("family,paper_model,pruner,sparsity,phase,top1,source\n")
    store, rows = Store(tmp_path, "embedded", "table1"), table_rows()
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
    modules = ("cli", "results.store", "results.timings", "reports.kernels", "reports.comparison.report",
               "reports.latency.report", "reports.sweep.report", "reports.sweep.figures")  # fmt: skip
    code = f"import sys, {', '.join(f'bench.{name}' for name in modules)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reports_of_several_dense_models_have_headline_leads_and_ranks(everywhere, frame, tmp_path: Path) -> None:
    rows = frame(*(
        everywhere(pruner, pattern, [top1 - drop, top1 - drop + 0.1])
        for pruner, top1 in (("cap", 90.0), ("woodfisher", 89.5), ("magnitude", 89.0))
        for pattern, drop in (("0.5", 0.0), ("0.75", 1.0), ("0.9", 10.0))
    ))  # fmt: skip
    rows["profile"] = "embedded"
    text = report.markdown(rows, tmp_path, "Title")
    assert "Sparsity at 1 % relative drop, with 95 % intervals" in text
    assert "| CAP | 73." in text
    assert "CAP's lead over the best of all rivals, one-shot top-1 in points" in text
    assert "| mean | +0.50 (+0.50 to +0.50) over WF |" in text
    assert "* Mean ranks one-shot, all layers together, over 18 cells" in text
    console = Console(width=150, file=io.StringIO())
    report.print_report(rows, tmp_path, "Title", console)
    assert "Mean ranks one-shot" in console.file.getvalue()
    old = report.markdown(rows.assign(dense_seed=None), tmp_path, "Title")
    assert not any(word in old for word in ("Sparsity at 1 %", "Mean ranks", "the best of all rivals"))
