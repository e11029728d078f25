from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.specs.discovery import find_results, load_results, load_sweep, sweep_modules

SWEEP = """
from bench import Sweep, grid

SWEEP = Sweep(name="mine", title="Mine", profiles={"embedded": grid(
    sweep="mine", profile="embedded", model="vit", pruner="magnitude", patterns=("0.5",))})
"""


def sweep_file(name: str) -> str:
    return str(Path(__file__).parents[3] / f"sweeps/{name}.py")


def test_installed_sweeps() -> None:
    assert list(sweep_modules()) == sorted(sweep_modules())
    assert sweep_modules()["table1"] == "sweeps.table1"
    assert load_sweep("table1").name == "table1"
    with pytest.raises(UserError, match=r"unknown sweep 'tabel1': choose from ablation, .*, or give a file path/to"):
        load_sweep("tabel1")


def test_a_sweep_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    with pytest.raises(UserError, match="unknown sweep"):
        load_sweep(str(path))
    path.write_text(SWEEP)
    assert [trial.model for trial in load_sweep(str(path)).trials("embedded")] == ["vit"]
    assert load_sweep(sweep_file("table1")).name == "table1", "the very file of the installed one"
    path.write_text(Path(sweep_file("table1")).read_text())
    with pytest.raises(UserError, match=r"mine\.py: the name 'table1' is taken: choose another than ablation, .*"):
        load_sweep(str(path))
    path.write_text("SWEEP = 3")
    with pytest.raises(UserError, match=r"is no bench\.Sweep but a int"):
        load_sweep(str(path))
    path.write_text("SWEPT = 3")
    with pytest.raises(UserError, match="defines no SWEEP"):
        load_sweep(str(path))
    path.write_text("1 / 0")
    with pytest.raises(UserError, match=r"mine\.py: ZeroDivisionError"):
        load_sweep(str(path))


def test_results_of_a_sweep(tmp_path: Path) -> None:
    assert find_results("table1", results=tmp_path).collected == tmp_path / "embedded/table1.parquet"
    (tmp_path / "a file.py").write_text(SWEEP)
    file = str(tmp_path / "a file.py")
    assert find_results(file, "imagenet", tmp_path).collected == tmp_path / "imagenet/mine.parquet", "its own name"
    with pytest.raises(UserError, match=f"run the sweep first with capbench run '{file}' --results {tmp_path}$"):
        load_results(file, results=tmp_path)
    with pytest.raises(UserError, match=r"unknown sweep 'path/to/mine\.py': choose from ablation"):
        find_results("path/to/mine.py", results=tmp_path)
    with pytest.raises(UserError, match=r"unknown sweep '\.\./embedded/mine'"):
        find_results("../embedded/mine", results=tmp_path)
    with pytest.raises(UserError, match=r"unknown sweep 'mine', and .* does not exist: choose from ablation"):
        find_results("mine", results=tmp_path)
    with pytest.raises(UserError, match="run the sweep first with capbench run table1 --profile imagenet --results /"):
        load_results("table1", "imagenet", results=tmp_path)
    rows = load_results("table1", results=Path(__file__).parents[3] / "results")
    assert set(rows["sweep"]) == {"table1"}
