"""The benchmarks run, at sizes that mean nothing, and become a table and a figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.reports import kernels as benchmarks

ROOT = Path(__file__).parents[3]


def test_benchmarks_run_and_are_reported(tmp_path: Path) -> None:
    output = tmp_path / "core.json"
    command = [
        sys.executable, "-m", "pytest", "-q", "tests/benchmarks", "tests/benchmarks/on_a_card.py", "-p",
        "no:cacheprovider", "--benchmark-only",
        "--override-ini", "addopts=--import-mode=importlib", "--override-ini", "pythonpath=tests/benchmarks",
        "--benchmark-json", str(output),
    ]  # fmt: skip
    # nothing is measured in a worker of pytest-xdist, which the environment would tell
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment["CAPBENCH_BENCHMARK_SIZE"] = "small"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "node" not in json.loads(output.read_text())["machine_info"]
    document = tmp_path / "doc.md"
    document.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    written = benchmarks.report(output, document)
    assert [path.name for path in written] == ["core.md", "core.png", "core.svg", "doc.md"]
    assert "old" not in document.read_text()
    assert "| elimination, DeiT-S 384 x 1536, B = 192 |" in document.read_text()
    report = output.with_suffix(".md").read_text()
    for method in ("Algorithm 1", *benchmarks.OURS):
        assert f"| {method} |" in report
    assert "## Fits beside their floor" in report
    for model in ("embedded vit", "DeiT-T", "DeiT-S", "ResNet-50"):
        assert f"| CAP fit beside its floor, {model}, " in report


def test_ratios_are_those_of_the_medians(tmp_path: Path) -> None:
    def entry(method: str, median: float, **info: object) -> dict:
        about = {"method": method, "peak_extra_bytes": 2**20, **info}
        return {"group": "step", "stats": {"median": median, "rounds": 3}, "extra_info": about}

    path = tmp_path / "x.json"
    content = {
        "benchmarks": [entry("slow", 8.0), entry("better", 4.0), entry("CAP", 0.5), entry(benchmarks.NO_RIVAL, 0.1)],
        "machine_info": {"cpu": "a", "cores": 2, "memory_bytes": 2**30},
        "commit_info": {"id": "f" * 40, "dirty": False},
        "datetime": "",
    }
    path.write_text(json.dumps(content))
    rows, origin = benchmarks.read(path)
    [line] = benchmarks.compact(rows).to_dict("records")
    assert (line["times as fast as plain"], line["as the best plain"]) == ("16", "8.0")
    assert list(benchmarks.detailed(rows)["times as fast"]) == ["1", "2.0", "16", "80"]
    assert str(origin) == "a, 2 cores, 1 GiB; ; commit ffffffffffff."


def test_fits_beside_their_floor(tmp_path: Path) -> None:
    info = {
        "method": "CAP", "peak_extra_bytes": 0, "fit_seconds": 30.0, "floor_seconds": 20.0, "over_floor": 1.5,
        "fit_parts": {"inverse": 6.0, "elimination": 24.0}, "floor_parts": {"passes": 5.0, "inverse": 15.0},
    }  # fmt: skip
    content = {
        "benchmarks": [
            {"group": group, "stats": {"median": 31.0, "rounds": 1}, "extra_info": extra}
            for group, extra in (("fit", info), ("other", {"method": "CAP", "peak_extra_bytes": 1}))
        ],
        "machine_info": {"card": "a card", "cpu": "a", "cores": 2, "memory_bytes": 2**30},
        "commit_info": {"id": "f" * 40, "dirty": False},
    }  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(content))
    rows, origin = benchmarks.read(tmp_path / "x.json")
    assert str(origin).startswith("a card; a, 2 cores")
    assert "core.png" not in benchmarks.markdown(rows, origin), "nothing was measured at several sizes"
    [line] = benchmarks.floors(rows).to_dict("records")
    assert (line["fit"], line["times the floor"]) == ("fit", "1.50")
    assert line["where the time goes"] == "elimination 80%, inverse 20%"
    assert line["of the floor"] == "passes 25%, inverse 75%"
    assert benchmarks.floors(rows[["group", "method"]]).empty


def test_a_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match=r"x\.json is no output of `nox -s benchmark`"):
        benchmarks.read(tmp_path / "x.json")
