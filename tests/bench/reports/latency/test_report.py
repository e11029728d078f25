from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.reports.latency.report import LatencyReport, progress_lines
from bench.results.parquet import write_rows
from bench.results.timings import SCHEMA, Cell, TimingRow, Timings

MakeRows = Callable[..., list[dict[str, Any]]]
MakeTable = Callable[..., pd.DataFrame]


def test_the_report_is_written_beside_the_measurements(rows: MakeRows, tmp_path: Path) -> None:
    timings = Timings(tmp_path, "speedup")
    with pytest.raises(UserError, match=r"speedup\.parquet does not exist: measure with"):
        LatencyReport(timings, tmp_path)
    write_rows([TimingRow(**row) for row in rows()], SCHEMA, timings.collected)
    document = tmp_path / "doc.md"
    document.write_text("before\n<!-- speedup -->\nold\n<!-- /speedup -->\n")
    report = LatencyReport(timings, tmp_path)
    written = report.write(document)
    assert [path.name for path in written] == ["speedup.md", "speedup.csv", "speedup.png", "speedup.svg", "doc.md"]
    assert "](speedup/speedup.png)" in document.read_text()
    assert "| deit | 1 | openvino, 0.2 s (2.00) | 0.40 (0.80) | 1.00 (2.00) | 2.00 (4.00) |" in document.read_text()
    text = timings.collected.with_suffix(".md").read_text()
    assert "a processor, 4 cores; torch 2.0, numba 0.6; commit c0ffeec0ffee; other processes took 0.03 cores" in text
    assert "Weights are random" in text
    assert "GMAC/s" not in text, "these rows are from before multiply-adds were counted"
    assert "C5" not in text, "without Table 1 it cannot be decided"
    numbers = pd.read_csv(timings.collected.with_suffix(".csv"))
    assert numbers["to_eager"].tolist()[:2] == [1, 2]


def test_a_measured_cell_is_told_and_what_disturbed_it(rows: MakeRows, timings: MakeTable) -> None:
    cell = Cell(profile="imagenet", model="deit", batch=1, threads=2, engines=("eager",), sparsities=())
    [line] = progress_lines(cell, timings(rows()))
    assert line.startswith("deit, batch 1, 2 threads: eager 0.4 s; openvino 2.00, ")
    lines = progress_lines(cell, timings(rows(others=0.34)))
    assert lines == [line, "  not reliable: other processes took 0.3 cores"]


def test_the_report_imports_no_torch() -> None:
    code = "import sys, bench.reports.latency.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
