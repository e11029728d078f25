from __future__ import annotations

from pathlib import Path

import pytest

from bench.cluster.budget import choose_cells, read_hours, write_budget
from bench.cluster.config import ClusterConfig
from bench.cluster.rates import RATES
from bench.core.errors import UserError
from bench.specs.discovery import load_sweep

TRIALS = [t for t in load_sweep("table1").trials("imagenet") if t.model in ("deit_tiny", "deit_base") and t.seed == 0]
CONFIG, H100 = ClusterConfig(cpus_per_task=16), RATES["h100"]


def test_one_shot_comes_first_and_small_models_before_large_ones() -> None:
    chosen, left = choose_cells(TRIALS, 10, CONFIG, H100)
    assert [cell.label for cell in chosen] == ["deit_tiny one-shot", "deit_base one-shot"]
    assert [cell.label for cell in left] == ["deit_tiny", "deit_base"]
    assert sum(cell.hours for cell in chosen) <= 10
    chosen, left = choose_cells(TRIALS, 10_000, CONFIG, H100)
    assert ([cell.label for cell in chosen], left) == (["deit_tiny", "deit_base"], [])
    assert all({trial.pruner for trial in cell.trials} == {"magnitude", "woodfisher", "cap"} for cell in chosen)


def test_the_choice_is_a_sweep(tmp_path: Path) -> None:
    lines = list(write_budget(TRIALS, 10, CONFIG, H100, tmp_path))
    assert lines[-1].endswith(f"2 cells do not fit; written: {tmp_path}/table1_10h.py")
    trials = load_sweep(str(tmp_path / "table1_10h.py")).trials("imagenet")
    assert [(t.model, t.pruner, t.finetune) for t in trials] == [
        (model, pruner, None) for model in ("deit_tiny", "deit_base") for pruner in ("magnitude", "woodfisher", "cap")
    ]
    assert all(trial.pruner_options == whole.pruner_options for trial, whole in zip(trials, TRIALS, strict=True))


def test_a_budget_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing fits into 0.001 h: deit_tiny one-shot alone takes"):
        list(write_budget(TRIALS, 0.001, CONFIG, H100, tmp_path))
    assert read_hours("1.5h") == read_hours("1.5") == 1.5
    for text in ("many", "0h", "infh"):
        with pytest.raises(UserError, match="give hours of one device, such as 100h"):
            read_hours(text)
