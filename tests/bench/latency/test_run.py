from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.core import provenance
from bench.core.errors import UserError
from bench.latency.measure import measure_memory
from bench.latency.run import measure_latency
from bench.results.timings import Timings


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No subprocess, and no memory, which is that of a whole process; a commit whose measurements are kept."""

    def run(function: Callable[..., object], *arguments: object) -> object:
        return 2**20 if function is measure_memory else function(*arguments)

    monkeypatch.setattr("bench.latency.measure.run_in_subprocess", run)
    monkeypatch.setattr(provenance, "commit", lambda: "c0ffee" * 6)
    monkeypatch.setattr(provenance, "dirty", lambda: False)


def measurement(results: Path, **values: Any) -> Any:
    usual = {"models": ["vit"], "sparsities": [0.5], "batch_sizes": [1, 2], "threads": [1], "engines": ["eager"]}
    return measure_latency(**{**usual, "seconds": 0.01, "profile": "embedded", "results": results, **values})


def test_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    run = measurement(tmp_path)
    assert len(run.missing) == len(run.cells) == 2
    assert not list(tmp_path.iterdir()), "nothing is done before the iteration"
    found = list(run)
    assert [(one.cell, one.error) for one in found] == [(cell, None) for cell in run.cells]
    assert [[row.engine for row in one.rows] for one in found] == [["eager"]] * 2
    assert run.timings.read()["batch"].tolist() == [1, 2]
    assert measurement(tmp_path).missing == ()
    assert [cell.batch for cell in measurement(tmp_path, batch_sizes=[4, 2]).missing] == [4]


def test_a_cell_that_fails_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.latency import run as module

    measure = module.measure_in_subprocesses

    def failing(cell: Any) -> Any:
        if cell.batch == 1:
            raise RuntimeError("its process ended with exit code -9")
        return measure(cell)

    monkeypatch.setattr(module, "measure_in_subprocesses", failing)
    begun: list[int] = []
    found = list(measurement(tmp_path).measure(begin=lambda cell: begun.append(cell.batch)))
    assert begun == [1, 2]
    assert (found[0].error, found[0].rows) == ("its process ended with exit code -9", ())
    assert found[1].error is None
    with pytest.raises(UserError, match="has no measurements"):
        list(measurement(tmp_path, batch_sizes=[1], name="another"))


def test_the_command_measures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    command = ["latency", "--profile", "embedded", "--model", "vit", "--batch", "1", "--threads", "1", "--engines",
               "eager", "--seconds", "0.01", "--memory", "1", "--results", str(tmp_path)]  # fmt: skip
    cli.main(command)
    assert "1 cells, 0 measured, 1 to measure" in capsys.readouterr().out
    rows = Timings(tmp_path, "latency").read()
    assert rows["memory_bytes"].tolist() == [2**20]
    assert rows["commit"].tolist() == ["c0ffee" * 6]
    assert "timm" in json.loads(rows["versions"][0])
    cli.main(command)
    assert "1 cells, 1 measured, 0 to measure" in capsys.readouterr().out
    monkeypatch.setattr(provenance, "commit", lambda: "decaf0" * 6)
    cli.main([*command, "--dry-run"])
    assert "1 cells, 0 measured, 1 to measure\n  vit, batch 1, 1 thread\n" in capsys.readouterr().out
    [path] = (tmp_path / "latency" / "cells").iterdir()
    path.write_bytes(b"half a file")
    monkeypatch.setattr(provenance, "commit", lambda: "c0ffee" * 6)
    cli.main([*command, "--dry-run"])
    assert "0 measured" in capsys.readouterr().out


def test_the_command_measures_a_model_of_ones_own(tmp_path: Path, capsys: Any) -> None:
    command = ["latency", "--model", "timm:test_resnet", "--transform", "input_size=32", "--layers", "layer4.*weight",
               "--sparsity", "0.5", "--batch", "2", "--threads", "1", "--engines", "sparse", "--seconds", "0.01",
               "--results", str(tmp_path)]  # fmt: skip
    cli.main(command)
    rows = Timings(tmp_path, "latency").read()
    assert rows["engine"].tolist() == ["eager", "sparse", "sparse"]
    assert rows["status"].tolist() == ["timed"] * 3
    assert rows["sparsity_prunable"].round(2).tolist() == [0.0, 0.0, 0.5]
    assert set(rows["family"]) == {"own"}
    assert "timm:test_resnet?layers=layer4" in capsys.readouterr().out
