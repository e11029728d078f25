from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.cluster_options import ClusterOptions
from bench.core.errors import UserError


def test_the_command_line_goes_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("cluster.toml").write_text('partition = "gpu"\ntime = "1-00"\n')
    config = ClusterOptions(gpus_per_node=4, time="2:00:00").config()
    assert (config.partition, config.time, config.tasks) == ("gpu", 120, 4)


def test_a_file_and_values_that_are_wrong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml does not exist"):
        ClusterOptions(cluster_file=tmp_path / "none.toml").config()
    with pytest.raises(UserError, match="max_parallel"):
        ClusterOptions(max_parallel=0).config()
