"""Two processes that work on a trial together, over gloo, against one that works alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("working_together.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, size: int) -> list[subprocess.Popen[str]]:
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{key: str(value) for key, value in shared.items()}}
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip


needed = 2 if os.environ.get("CAPBENCH_TEST_DEVICE", "cpu") != "cpu" else 0
pytestmark = pytest.mark.skipif(torch.cuda.device_count() < needed, reason="two processes over NCCL need two cards")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where a process alone, and where two together, left their results."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    for folder, size in ((together, 2), (alone, 1)):
        processes = start(folder, size)
        try:
            for process in processes:
                output, _ = process.communicate(timeout=300)
                assert process.returncode == 0, output
        finally:
            for process in processes:
                process.kill()
    return alone, together


@pytest.fixture(scope="module")
def outcomes(folders: tuple[Path, Path]) -> list[dict[str, Any]]:
    """What the process alone, and each of the two, saw."""
    alone, together = folders
    return [torch.load(path, map_location="cpu") for path in (alone / "0.pt", together / "0.pt", together / "1.pt")]


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert (ours[name].double() - value.double()).norm() <= tolerance * value.double().norm(), name


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert list(ours) == list(theirs)
    assert all(ours[name].equal(value) for name, value in theirs.items())


@pytest.mark.parametrize("what", ["pruned", "pruned from one batch"])
def test_every_pruner_gives_what_it_gives_alone(outcomes: list[dict[str, Any]], what: str) -> None:
    alone, first, second = (outcome[what] for outcome in outcomes)
    for case, weights in alone.items():
        assert_same(first[case], second[case])
        assert_close(first[case], weights, 1e-5)
        for name, weight in weights.items():
            assert (first[case][name] == 0).equal(weight == 0), (case, name)
    assert_same(first["cap, kept"], alone["cap, kept"])  # no sum is rounded another way


def test_training_gives_what_it_gives_alone(outcomes: list[dict[str, Any]]) -> None:
    """With shares of different sizes, an empty one, several passes for a batch, masks that one process knows."""
    alone, first, second = (outcome["trained"] for outcome in outcomes)
    assert_same(first, second)
    assert_close(first, alone, 1e-5)
    assert first["mask"].equal(alone["mask"])
    assert (first["1.weight"] == 0).equal(~first["mask"])


def test_half_precision_together(outcomes: list[dict[str, Any]]) -> None:
    alone, first, second = (outcome["bfloat16"] for outcome in outcomes)
    assert_same(first, second)
    assert_close(first, alone, 0.02)
    assert not first["1.weight"].equal(outcomes[1]["trained"]["1.weight"])


def test_batch_norm_takes_the_running_statistics_of_the_first(outcomes: list[dict[str, Any]]) -> None:
    alone, first, second = (outcome["batch norm"] for outcome in outcomes)
    assert_same(first, second)
    assert not first["norm.running_mean"].equal(alone["norm.running_mean"])


def test_each_process_drops_others(outcomes: list[dict[str, Any]]) -> None:
    _, first, second = (outcome["dropped"] for outcome in outcomes)
    assert not first.equal(second)


def test_weights_that_differ_are_noticed(outcomes: list[dict[str, Any]]) -> None:
    assert [outcome["drifted"] for outcome in outcomes] == [
        "nothing",
        *["the weights of process 1 differ from those of process 0"] * 2,
    ]


def test_trials_end_as_they_do_alone(folders: tuple[Path, Path], outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        assert outcome["done"] == {"one_shot": ("done", None), "gradual": ("done", None)}
        assert outcome["again"] == ("done", None)
    tables = []
    for folder in folders:
        files = sorted(path for path in folder.glob("results/embedded/s/*.parquet") if "layers" not in path.name)
        tables.append(pd.concat([pd.read_parquet(path) for path in files], ignore_index=True))
    alone, together = (table[table["pruner"] == "cap"] for table in tables)
    keys = ["regime", "pattern", "phase", "n_images", "sparsity_prunable", "violations", "finetune_images"]
    alone, together = (table.sort_values(keys[:3], ignore_index=True) for table in (alone, together))
    pd.testing.assert_frame_equal(alone[keys], together[keys])
    assert len(alone) == 4 + 3
    assert set(alone["processes"]) == {1}
    assert set(together["processes"]) == {2}
    assert (alone["top1"] - together["top1"]).abs().max() < 0.6  # of 600 images
    assert (alone["loss"] - together["loss"]).abs().max() < 2e-3
    assert (alone["agreement"] - together["agreement"]).abs().max() < 0.6
    dense = alone["phase"] == "dense"
    assert alone[dense]["top1"].tolist() == together[dense]["top1"].tolist()
    models = [sorted(folder.glob("results/embedded/s/*/*.safetensors")) for folder in folders]
    assert (
        [path.name for path in models[0]] == [path.name for path in models[1]] == ["0.5.safetensors", "0.8.safetensors"]
    )
    for one, two in zip(*models, strict=True):
        ours, theirs = load_file(two), load_file(one)
        weights = [name for name in theirs if not name.startswith("mask.")]
        assert_close({name: ours[name] for name in weights}, {name: theirs[name] for name in weights}, 2e-3)


def test_a_failure_of_one_is_everyones(outcomes: list[dict[str, Any]], folders: tuple[Path, Path]) -> None:
    for outcome in outcomes:
        assert outcome["failed"] == ("failed", "OSError: no memory in process 0")
    for folder in folders:
        assert any("no memory in process 0" in log.read_text() for log in folder.glob("results/embedded/s/*.log"))


def test_without_one_process_none_goes_on(outcomes: list[dict[str, Any]]) -> None:
    alone, first, second = (outcome["lost"] for outcome in outcomes)
    assert alone == ("failed", "OSError: no memory in process 0")
    assert "no memory in process 1" in second
    assert "no memory" not in first
