"""`capbench show` and `rerun`, on the tiny sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import bench
from bench import cli
from bench.execution.rerun import CLOSE, DIFFERS, EXACT, compared


@pytest.fixture
def rows(finished: tuple[str, str]) -> pd.DataFrame:
    return pd.read_parquet(Path(finished[1]) / "embedded/tiny.parquet")


def test_show_prints_the_whole_identity(finished, rows: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    trial_id = rows.loc[rows["pruner"] == "cap", "trial_id"].iloc[0]
    cli.main(["show", trial_id[:10], "--results", finished[1]])
    shown = dict(line.split(maxsplit=1) for line in reversed(capsys.readouterr().out.splitlines()))
    assert shown["trial"] == trial_id
    assert '"block_size": 32' in shown["pruner_options"]
    assert '"max_sparsity"' in shown["pruner_options"], "a default"
    assert '"epochs": 1' in shown["finetune"]
    assert '"images": 64' in shown["calibration"]
    assert shown["evaluation_images"] == "1000"
    assert "vit.safetensors" in shown["files"]
    assert (shown["seed"], shown["sweep"]) == ("0", "tiny")
    assert shown["commit"] == rows["commit"].iloc[0]
    assert '"torch"' in shown["versions"]
    assert shown["file"] == f"{finished[1]}/embedded/tiny/{trial_id}.parquet"
    assert shown["command"].startswith("capbench run tiny --only model=vit --only pruner=cap --seeds 0 --results ")


def test_rerun_says_that_the_rows_agree(finished, rows: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    trial_id = rows.loc[rows["pruner"] == "magnitude", "trial_id"].iloc[0]
    before = {path: path.stat().st_mtime_ns for path in Path(finished[1]).rglob("*")}
    cli.main(["rerun", trial_id, "--results", finished[1]])
    out = capsys.readouterr().out
    assert "0.75 one_shot: exact" in out or "0.75 one_shot: within tolerance" in out
    assert len(out.splitlines()) == 4
    assert before == {path: path.stat().st_mtime_ns for path in Path(finished[1]).rglob("*")}


def test_ids_that_lead_nowhere(finished, fails: Callable[..., str]) -> None:
    results = ["--results", finished[1]]
    assert "'xyz' is no id of a trial" in fails("show", "xyz", *results)
    assert "no trial in" in fails("rerun", "0" * 16, *results)
    first = {path.stem[0] for path in Path(finished[1]).glob("embedded/tiny/*[!s].parquet")}
    if len(first) == 1:
        assert "2 trials have an id that begins with" in fails("show", first.pop(), *results)


def test_a_prefix_of_several_ids_lists_them(fails: Callable[..., str]) -> None:
    error = fails("show", "a", "--results", str(Path(__file__).parents[3] / "results"))
    assert "trials have an id that begins with a: a0" in error


def test_committed_trials_can_be_made_again() -> None:
    results = Path(__file__).parents[3] / "results"
    for sweep in ("table1", "gradual", "quantization"):
        trial_id = pd.read_parquet(results / f"embedded/{sweep}.parquet")["trial_id"].iloc[-1]
        stored = bench.find_trial(trial_id, results)
        assert stored.trial.id == trial_id
        assert stored.path == results / f"embedded/{sweep}.parquet"


ROW = {"status": "done", "top1": 80.0, "top5": 99.0, "loss": 0.5, "agreement": 90.0, "knn_top1": None, "violations": 0,
       "predicted_loss_increase": None, "observed_loss_increase": 0.1, "params_nonzero": 1000, "macs_sparse": 5000,
       "file_bytes": None, "sparsity_prunable": 0.5, "sparsity_model": 0.4, "n_images": 1000}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "agreement"),
    [
        ({}, EXACT),
        ({"top1": 80.2, "loss": 0.5004}, CLOSE),
        ({"top1": 81.0}, DIFFERS),
        ({"sparsity_prunable": 0.51}, DIFFERS),
        ({"status": "invalid"}, DIFFERS),
        ({"knn_top1": 3.0}, DIFFERS),
    ],
)
def test_agreement_of_two_rows(changed: dict, agreement: str) -> None:
    found = compared(ROW, {**ROW, **changed}, "0.5", "one_shot", "")
    assert found.agreement == agreement
    assert found.differences == {name: (ROW[name], value) for name, value in changed.items()}


def test_a_row_that_does_not_come_again() -> None:
    assert compared(ROW, None, "0.5", "one_shot", "failed: ValueError: no").line() == (
        "0.5 one_shot: differs (row stored -> failed: ValueError: no)"
    )
