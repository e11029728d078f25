from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cluster import loading
from bench.cluster.config import ClusterConfig
from bench.cluster.estimate import model_size
from bench.cluster.rates import RATES, Rates
from bench.cluster.sweeps import ClusterTarget, plan_sweep
from bench.core.errors import UserError
from bench.execution.selection import select_trials
from bench.models import get_model
from bench.results.store import Store
from bench.specs.discovery import load_sweep
from bench.specs.trial import Trial

TABLE1 = [trial for trial in load_sweep("table1").trials("imagenet") if trial.model in ("deit_tiny", "deit_base")]
MACS = model_size(get_model("imagenet", "deit_tiny")).macs


def card(training: float, inference: float = 1.0, decoded: float = 100.0, **values: Any) -> Rates:
    """A card that takes so many images of DeiT-Tiny a second."""
    return dataclasses.replace(
        RATES["a100"], training=training * 3 * MACS, inference=inference * MACS, decoded=decoded, **values
    )


def test_the_need_is_that_of_the_model_that_takes_most() -> None:
    need = loading.find_need(TABLE1, card(950))
    assert need is not None
    assert str(need) == "950 images a second of deit_tiny in training"
    assert (need.cores(100), need.cores(950), need.cores(1e6)) == (10, 1, 1)
    evaluation = loading.find_need(TABLE1, card(950, inference=3000))
    assert evaluation is not None
    assert str(evaluation) == "3,000 images a second of deit_tiny in evaluation"
    assert loading.find_need(load_sweep("table1").trials("embedded"), card(950)) is None, "nothing is decoded"


def test_jobs_get_the_cores_that_a_card_needs_where_nobody_says_how_many() -> None:
    def cores(config: ClusterConfig, rates: Rates, trials: Any = TABLE1) -> int:
        return loading.with_cores(config, trials, rates).cpus_per_task

    assert cores(ClusterConfig(gpus_per_node=1), card(550)) == 6
    assert cores(ClusterConfig(gpus_per_node=1), card(10_000)) == loading.MOST_CORES
    assert cores(ClusterConfig(gpus_per_node=1, cpus_per_task=1), card(550)) == 1
    assert cores(ClusterConfig(), card(550)) == 1
    assert cores(ClusterConfig(gpus_per_node=1), card(550), load_sweep("table1").trials("embedded")) == 1


@pytest.fixture
def trials(imagenet_folders: Path) -> list[Trial]:
    return [TABLE1[0]]


def describe(trials: list[Trial], rates: Rates, config: ClusterConfig) -> tuple[bool, str]:
    return loading.describe_loader(trials, config, rates)


def test_a_loader_is_held_against_the_card(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPBENCH_WORKERS")
    monkeypatch.setattr(loading, "loader_rate", lambda trial, workers, work: 100.0 * workers)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    config = ClusterConfig(gpus_per_node=1, cpus_per_task=4)
    measured = card(950, measured=True)
    assert describe(trials, measured, config) == (
        False,
        "4 workers give 400 images a second; a100 (measured) takes 950 images a second of deit_tiny in training: "
        "10 workers would keep it busy: ask for --cpus-per-task 10",
    )
    assert describe(trials, card(950), config)[0], "nothing is refused for what is assumed"
    assert describe(trials, card(400, measured=True), config)[1].endswith("it is never kept waiting")
    fits, text = describe(trials, measured, ClusterConfig(gpus_per_node=4, cpus_per_task=4))
    assert fits
    assert text.endswith("keep it busy, and there are 4 cores for each process: it waits for images")
    assert "decode on the very cores that compute" in describe(trials, measured, ClusterConfig(cpus_per_task=4))[1]
    monkeypatch.setenv("CAPBENCH_WORKERS", "12")
    assert describe(trials, measured, config)[0]


@pytest.mark.parametrize("work", ["training", "evaluation"])
def test_the_rate_is_that_of_the_loader_itself(trials: list[Trial], work: str) -> None:
    before = torch.get_rng_state()
    assert 1 < loading.loader_rate(trials[0], 0, work) < 1e6
    assert torch.get_rng_state().equal(before)


def test_a_way_to_compute_is_for_measuring(tmp_path: Path) -> None:
    selection = select_trials("table1", "embedded", results=tmp_path)
    with pytest.raises(UserError, match="--compute compile says how the training computes that --measure measures"):
        plan_sweep(selection, ClusterConfig(), compute="compile")


def test_how_training_computes_comes_to_the_jobs(tmp_path: Path) -> None:
    target = ClusterTarget("slurm", ClusterConfig(), compute="compile")
    assert target.executor(Store(tmp_path, "embedded", "table1")).compute == "compile"
