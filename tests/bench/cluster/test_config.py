from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from bench.cluster.config import ClusterConfig, load_config, minutes
from bench.core.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), (90, 90), ("2:00:00", 120), ("1:30", 2), ("0:59", 1), ("1-00", 1440), ("1-12:30", 2190),
     ("2-00:00:01", 2881)],
)  # fmt: skip
def test_times_are_read_as_slurm_does_and_rounded_up_to_minutes(text: str, expected: int) -> None:
    found = minutes(text)
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("text", ["", "an hour", "1:2:3:4", "0", "0:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        minutes(text)


def test_single_settings_go_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert load_config().partition is None
    (tmp_path / "config" / "capbench").mkdir(parents=True)
    (tmp_path / "config" / "capbench" / "cluster.toml").write_text('partition = "home"\n')
    assert load_config().partition == "home"
    Path("cluster.toml").write_text(
        'partition = "gpu"\ntime = "1-00"\nsetup = ["module load cuda"]\n[extra]\nreservation = "x"\n'
    )
    config = load_config(gpus_per_node=4, time="2:00:00")
    assert (config.partition, config.time, config.tasks, config.setup) == ("gpu", 120, 4, ("module load cuda",))
    assert config.extra == {"reservation": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("partitoin = 'gpu'", "valid names are partition"), ("= 3", "is no TOML"), ("nodes = 0", "nodes"),
     ("time = 'soon'", "soon is no time")],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_a_missing_file_or_a_wrong_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UserError, match="max_parallel"):
        load_config(max_parallel=0)


def test_places_are_those_of_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAPBENCH_IMAGENET", "CAPBENCH_WEIGHTS", "CAPBENCH_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "x")  # so that they are restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPBENCH_WEIGHTS", "/of/this/process")
    config = load_config(
        setup=[
            "module load cuda",
            f"export CAPBENCH_IMAGENET='{tmp_path}' OTHER=1",
            "export CAPBENCH_CACHE=$TMPDIR/cache",
        ],
        env={"CAPBENCH_WEIGHTS": "/weights", "HF_HUB_OFFLINE": "1"},
    )
    assert config.places() == {"CAPBENCH_IMAGENET": str(tmp_path), "CAPBENCH_WEIGHTS": "/weights"}
    assert config.elsewhere() == {"CAPBENCH_CACHE", "CAPBENCH_WEIGHTS"}, "a command tells one, one is not here"
    assert config.environment() == {"CAPBENCH_WEIGHTS": "/of/this/process", "HF_HUB_OFFLINE": "1"}
    config.apply_places()
    assert os.environ["CAPBENCH_IMAGENET"] == str(tmp_path)
    assert "HF_HUB_OFFLINE" not in os.environ, "this machine may fetch what the nodes cannot"


def test_the_settings_in_the_document_tell_where_imagenet_is() -> None:
    text = (Path(__file__).parents[3] / "docs" / "slurm.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert ClusterConfig.model_validate(tomllib.loads(block)).places()["CAPBENCH_IMAGENET"] == "/data/imagenet"
