"""The installed wheel in an empty folder: `nox -s wheel` builds it and tells its environment in CAPBENCH_WHEEL."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

WHEEL = Path(os.environ.get("CAPBENCH_WHEEL", ""))
VERSION = importlib.metadata.version("cap-bench")
KEPT = ("PATH", "HOME", "TMPDIR", "LANG")  # no PYTHONPATH: nothing of the checkout is importable


def call(folder: Path, program: str, *arguments: str, code: int = 0) -> str:
    """Returns what a program of the wheel's environment prints, after checking its exit code."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ} | {"OMP_WAIT_POLICY": "PASSIVE"}
    command = [str(WHEEL / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def site_packages() -> Path:
    (found,) = WHEEL.glob("lib/python3*/site-packages")
    return found


def test_it_has_types_licences_data_and_weights(site_packages: Path) -> None:
    (info,) = site_packages.glob("cap_bench-*.dist-info")
    wanted = (
        "bench/py.typed",
        "cap/py.typed",
        "bench/assets/zoo/vit-0.safetensors",
        "bench/reports/page/assets/page.html",
    )
    licences = ("LICENSE", "NOTICE.md", "bench/assets/fashion_mnist/LICENSE")
    assert all((site_packages / name).is_file() for name in wanted)
    assert all((info / "licenses" / name).is_file() for name in licences)
    metadata = (info / "METADATA").read_text()
    assert "License-Expression: MIT" in metadata
    assert "Classifier: Typing :: Typed" in metadata


def test_sweeps_are_there(folder: Path) -> None:
    assert "table1" in call(folder, "capbench", "list", "sweeps")
    assert "144 trials, 0 done, 144 to run" in call(folder, "capbench", "run", "table1", "--dry-run")
    assert "hours" in call(folder, "capbench", "plan", "table1")
    assert not list(folder.iterdir())


def test_a_comparison_goes_to_the_working_folder_and_says_its_version(
    folder: Path, page_text: Callable[[Path], str]
) -> None:
    """The environment may lie in the repository of other code, whose commit is not that of the wheel."""
    call(folder, "python", "-m", "bench", "compare", "--pruner", "magnitude", "--against", "random", "--model", "vit",
         "--sparsity", "0.5", "--seeds", "0", "--jobs", "1")  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["runs"]
    (report,) = (folder / "runs/embedded/compare").glob("*.md")
    assert f"version {VERSION} of the wheel" in report.read_text()
    rows = pq.read_table(report.with_suffix(".parquet"))
    assert rows["commit"].null_count == len(rows)
    written = call(folder, "capbench", "report", "--compare", report.stem)
    assert f"wheel {VERSION}" in page_text(report.with_suffix(".html")), written


def test_a_part_of_a_sweep_is_run_printed_and_shown(tmp_path: Path) -> None:
    only = ["--only", "model=vit", "--only", "pruner=magnitude", "--only", "phase=one_shot", "--seeds", "0"]
    assert "2 done, 0 failed" in call(tmp_path, "capbench", "run", "table1", *only, "--jobs", "1")
    printed = call(tmp_path, "capbench", "table", "table1")
    assert "88.89" in printed, "at 50 %, where magnitude depends on no calibration"
    assert "report.html" in call(tmp_path, "capbench", "report")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_what_needs_a_checkout_says_so_in_a_line(folder: Path) -> None:
    said = call(folder, "capbench", "publish", "table1", code=2)
    assert said == "capbench: results are published in a checkout of the repository; this is an installed package\n"
    said = call(folder, "capbench", "table", "table1", code=2)
    assert said.startswith("capbench: runs/embedded/table1.parquet does not exist: run the sweep first")
    said = call(folder, "capbench", "export", "--model", "vit", "--format", "onnx", code=2)
    assert said.endswith("pip install 'cap-bench[engines]'\n")
