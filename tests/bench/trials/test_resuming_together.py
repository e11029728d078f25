"""A trial that two processes have begun goes on with another number of them, and ends as one that nothing stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("resuming_together.py")
KEYS = ["regime", "pattern", "phase", "n_images", "sparsity_prunable", "violations", "finetune_images"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the script left its results, and what it said."""
    folder = tmp_path_factory.mktemp("resuming")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, timeout=500
    )
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stderr


def rows(folder: Path) -> pd.DataFrame:
    files = [path for path in folder.glob("embedded/s/*.parquet") if "." not in path.stem]
    found = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    return found.sort_values(KEYS[:3], ignore_index=True)


@pytest.mark.parametrize("processes", [1, 4])
def test_it_ends_as_if_nothing_had_stopped_it(done: tuple[Path, str], processes: int) -> None:
    folder, _ = done
    through, other = rows(folder / "through"), rows(folder / f"on with {processes}")
    pd.testing.assert_frame_equal(through[KEYS], other[KEYS])
    assert (through["loss"] - other["loss"]).abs().max() < 2e-3
    assert (through["top1"] - other["top1"]).abs().max() <= 2, "one of 50 images"
    assert set(other["processes"]) == {2, processes}, "each row has those that made it"
    models = [
        sorted((folder / name).glob("embedded/s/*/*.safetensors")) for name in ("through", f"on with {processes}")
    ]
    assert [path.name for path in models[0]] == [path.name for path in models[1]] != []
    for ours, theirs in zip(*models, strict=True):
        one, two = load_file(ours), load_file(theirs)
        for name in one:
            torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=2e-3)


def test_it_goes_on_where_it_stopped(done: tuple[Path, str]) -> None:
    folder, said = done
    assert list((folder / "killed").glob("embedded/s/*/checkpoint/state.pt"))
    assert "goes on with 1 processes where 2 stopped" in said
    assert "goes on with 4 processes where 2 stopped" in said
    assert "starts again" not in said
