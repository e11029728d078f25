"""A finished comparison of a pruner in a file, with made-up rows, and a submission of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.leaderboard.submit import submit_comparison
from bench.reports.comparison.report import ComparisonReport
from bench.results.schema import SCHEMA
from bench.results.submissions import Submission
from bench.specs.comparison import Comparison, plan

CODE = '''"""A pruner."""

import cap


class Mine(cap.ScorePruner):
    """Absolute values."""

    def scores(self, model, layers, calibration):
        return {name: weight.abs() for name, weight in layers.items()}
'''


@pytest.fixture
def planned(tmp_path: Path) -> Comparison:
    """The comparison: one model, two patterns, two seeds."""
    (tmp_path / "mine.py").write_text(CODE)
    return plan(f"{tmp_path}/mine.py:Mine", {}, ["magnitude"], ["vit"], ["0.5", "0.75"], [0, 1])


@pytest.fixture
def rows(planned: Comparison, make: Any, frame: Any) -> pd.DataFrame:
    """Its rows; the new pruner is two points above magnitude."""
    parts = [
        make(one.name, pattern, [top1, top1 + 1], options=one.options, profile="embedded", sweep="compare",
             split="test", calibration_images=64, fit_seconds=1.0, prune_seconds=0.1)
        for one, base in ((planned.new, 82.0), (planned.against[0], 80.0))
        for pattern, top1 in (("0.5", base), ("0.75", base - 10))
    ]  # fmt: skip
    return frame(*parts)


@pytest.fixture
def finished(planned: Comparison, rows: pd.DataFrame, write_rows: Any, tmp_path: Path) -> Path:
    """The comparison's JSON document, its rows beside it."""
    report = ComparisonReport(rows, planned.entries(), "Mine against GM")
    path = tmp_path / "runs/embedded/compare/Mine-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(report.json())
    write_rows(rows, path.with_suffix(".parquet"))
    return path


@pytest.fixture
def submission(finished: Path, tmp_path: Path) -> Submission:
    return submit_comparison(str(finished), "mine", folder=tmp_path / "submissions")


@pytest.fixture
def write_rows() -> Callable[[pd.DataFrame, Path], None]:
    """Writes rows as the store does."""

    def write(rows: pd.DataFrame, path: Path) -> None:
        plain = rows.astype(object).where(rows.notna(), None)
        pq.write_table(pa.Table.from_pylist(plain.to_dict("records"), SCHEMA), path)

    return write
