from __future__ import annotations

from pathlib import Path

import bench
from bench.execution.inline import InlineExecutor
from bench.trials.context import ExecutionConfig


def test_compare_returns_the_report(tmp_path: Path) -> None:
    report = bench.compare(
        "magnitude", against=("wanda",), models=("vit",), sparsities=("0.5@layer",), seeds=(0,), results=tmp_path,
        executor=InlineExecutor(tmp_path, ExecutionConfig()),
    )  # fmt: skip
    assert report.title == "GM against Wanda (embedded)"
    assert report.cells["label"].tolist() == ["GM", "Wanda"]
    assert len(report.verdicts()) == 1
    assert all(path.exists() for path in report.write(tmp_path / "report"))
