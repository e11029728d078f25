"""The tables of docs/imagenet.md are what `capbench plan --by model` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cluster.config import ClusterConfig
from bench.cluster.plan_table import describe_parts
from bench.cluster.rates import RATES
from bench.specs.discovery import load_sweep
from bench.specs.sweep import filter_trials

DOCUMENT = Path(__file__).parents[1] / "docs" / "imagenet.md"


@pytest.mark.parametrize("sweep", ["table1", "gradual"])
def test_what_models_take(sweep: str) -> None:
    trials = filter_trials(load_sweep(sweep).trials("imagenet"), seeds=[0])
    lines = describe_parts(trials, "model", ClusterConfig(cpus_per_task=16), RATES["a100"])
    text = DOCUMENT.read_text()
    said = text.split(f"<!-- {sweep} -->\n")[1].split(f"<!-- /{sweep} -->")[0]
    assert said == "\n".join((*lines, ""))
    assert f"capbench plan {sweep} --profile imagenet --seeds 0 --by model --hardware a100 --cpus-per-task 16" in text
