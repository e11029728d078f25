"""A profile in a user's own file, in jobs of this machine: processes that know of it what the submission says."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench import cli
from bench.trials.checkpointer import TrialCheckpointer

PROFILE = """
from bench import own_model, own_profile

DATA = "imagefolder:photos"
NET = own_model("timm:test_resnet", DATA, name="net", weights="net.safetensors", layers=["fc.*"],
                transform={"input_size": 32})
PROFILE = own_profile(DATA, {"net": NET})
"""
SWEEP = """
from bench import Sweep, get_profile, grid

NAME = "my_profile.py:PROFILE"
TRIALS = grid(sweep="mine", profile=NAME, model="net", pruner="magnitude", seed=[0, 1], patterns=("0.5", "0.75"),
              calibration=get_profile(NAME).calibration)
SWEEP = Sweep(name="mine", title="Mine", profiles={NAME: TRIALS})
"""
ON = ("my_sweep.py", "--profile", "my_profile.py:PROFILE")
LOCAL = ("--cluster", "local", "--max-parallel", "2", "--allow-dirty")
DIFFERS = re.compile(r".*_seconds|peak_memory_bytes|host|job|started_at|processes|threads")  # from run to run


class KilledError(BaseException):
    """What no `except Exception` holds up."""


@pytest.fixture
def called(
    own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command on the sweep in the user's folder, and returns what it printed."""
    shutil.copytree(own_folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # also of the jobs, which inherit it
    for name, text in {"my_profile.py": PROFILE, "my_sweep.py": SWEEP}.items():
        Path(name).write_text(text)

    def run(command: str, *options: str) -> str:
        cli.main([command, *ON, *options])
        return capsys.readouterr().out

    return run


def rows(results: str) -> pd.DataFrame:
    [table] = Path(results).glob("my_profile-py-PROFILE-*/mine.parquet")
    found = pd.read_parquet(table)
    return found[[name for name in found.columns if not DIFFERS.fullmatch(name)]]


def test_jobs_know_a_profile_in_a_file_and_go_on_from_a_checkpoint(
    called: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrialCheckpointer.save

    def save_and_die(self: TrialCheckpointer) -> None:
        save(self)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TrialCheckpointer, "save", save_and_die)
        with pytest.raises(KilledError):
            called("run", "--jobs", "1")
    [checkpoint] = Path("runs").rglob("checkpoint/state.pt")
    assert "submitted 2 jobs: " in called("run", *LOCAL)
    end = time.monotonic() + 600
    while not all(line.split()[1] == "done" for line in called("status").splitlines()[:-1]):
        assert time.monotonic() < end, [path.read_text()[-2000:] for path in Path("runs").rglob("*.err")]
        time.sleep(0.5)
    assert not checkpoint.exists()
    assert "2 trials, 2 done, 0 to run" in called("run", *LOCAL, "--dry-run")
    called("collect")
    called("run", "--jobs", "1", "--results", "inline")
    pd.testing.assert_frame_equal(rows("runs"), rows("inline"), check_exact=True)
