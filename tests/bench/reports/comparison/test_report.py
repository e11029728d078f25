from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from bench.core.errors import UserError
from bench.reports.comparison.entry import Entry
from bench.reports.comparison.report import ComparisonReport

MakeRows = Callable[..., pd.DataFrame]


def test_report_files(make_rows: MakeRows, without_result: MakeRows, tmp_path: Path) -> None:
    rows = pd.concat([
        make_rows({"mine.py:Mine": {0: 80.0, 1: 81.0}, "cap": {0: 85.0, 1: 86.5}}, phase=phase, pattern=pattern)
        for phase in ("one_shot", "finetuned") for pattern in ("0.50", "0.75@layer")
    ])  # fmt: skip
    rows = pd.concat([rows, without_result("wanda", "skipped", "0.50", "ask for 0.5@layer")])
    entries = [Entry("Mine", "mine.py:Mine", "{}", "mine.py", "abc", "x = 1"), Entry("CAP", "cap", "{}"),
               Entry("wanda", "wanda", "{}")]  # fmt: skip
    report = ComparisonReport(rows, entries, "Mine against CAP")
    written = report.write(tmp_path / "report")
    assert [path.name for path in written] == ["report.md", "report.csv", "report.png", "report.svg", "report.json"]
    text = written[0].read_text()
    assert "| vit | 0.50 | one-shot | Mine | 80.50 ± 0.71 | 2 |  |  |  |" in text
    low, high = stats.ttest_rel([80, 81], [85, 86.5]).confidence_interval()
    assert f"|  |  |  | CAP | 85.75 ± 1.06 | 2 | -5.25 | {low:+.2f} to {high:+.2f} | worse |" in text
    assert "wanda skipped 0.50: ask for 0.5@layer (vit)." in text
    assert "mine.py (SHA-256 abc)" in text
    assert "1,024 training images" in text
    assert "| vit | CAP | 0.50 | 2.5 s | 0 ms | 2.5 s | 2 MiB |" in text
    assert "![Accuracy and paired differences](report.png)" in text
    assert pd.read_csv(written[1])["difference"].dropna().tolist() == [-5.25] * 4
    assert written[2].read_bytes().startswith(b"\x89PNG")
    assert report.write(tmp_path / "report")[3].read_text() == written[3].read_text()


def test_nothing_to_compare(make_rows: MakeRows, without_result: MakeRows) -> None:
    rows = pd.concat([make_rows({"cap": {0: 1.0}}), without_result("mine", "failed", None, "boom")])
    with pytest.raises(UserError, match="Mine has no result"):
        ComparisonReport(rows, [Entry("Mine", "mine", "{}"), Entry("CAP", "cap", "{}")], "title")


def test_the_report_imports_no_torch() -> None:
    code = "import sys, bench.reports.comparison.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_dense_model_after_the_same_fine_tune_is_a_line_and_no_pruner(make_rows: MakeRows, tmp_path: Path) -> None:
    """Magnitude at 0 % is nobody's row here; that magnitude is not compared does not matter."""
    parts = [
        make_rows({"mine.py:Mine": {0: 80.0}, "cap": {0: 85.0}}, phase=phase) for phase in ("one_shot", "finetuned")
    ]
    control = make_rows({"magnitude": {0: 89.0}}, phase="finetuned", pattern="0.00")
    entries = [Entry("Mine", "mine.py:Mine", "{}"), Entry("CAP", "cap", "{}")]
    report = ComparisonReport(pd.concat([*parts, control]), entries, "title")
    assert set(report.cells["label"]) == {"Mine", "CAP"}
    assert set(report.cells["pattern"]) == {"0.75"}
    text = report.markdown("x.png")
    assert "* vit: the dense model after the same training has 89.00 % top-1, -1.00 points: the training harms" in text
    assert "Fine-tuned by the protocol's training" in text
    assert "protocol's training" not in ComparisonReport(parts[0], entries, "title").markdown("x.png")
