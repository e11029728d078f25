"""The shell lines of a job, run by a shell; tests/slurm has them in jobs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.cluster.config import ClusterConfig
from bench.cluster.submit import setup_lines


def shell(lines: list[str], how: str, then: str) -> subprocess.CompletedProcess[str]:
    """Runs lines as submitit does: one after another in a script of SLURM's, joined by && in a local job."""
    joined = ("\n" if how == "bash" else " && ").join([*lines, then])
    return subprocess.run([how, "-c", joined], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["bash", "sh"])
def test_variables_and_commands_come_before_python(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPBENCH_CACHE", raising=False)
    config = ClusterConfig(
        env={"CAPBENCH_CACHE": "/a b/$c", "X": "it's"},
        setup=("# a comment", "", "Y=1; export Y", "true & wait", "false || export Z='2 3'"),
    )
    done = shell(setup_lines(config, others={"CUDA_VISIBLE_DEVICES": "1"}), how,
                 'echo "$CAPBENCH_CACHE,$X,$Y,$Z,$CUDA_VISIBLE_DEVICES"')  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "/a b/$c,it's,1,2 3,1\n")


@pytest.mark.parametrize("how", ["bash", "sh"])
def test_a_command_that_fails_ends_the_job_and_is_named(how: str, tmp_path: Path) -> None:
    config = ClusterConfig(setup=("export X=1", "ls '/no such folder'", "export Y=1"))
    done = shell(setup_lines(config), how, "echo python starts")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "capbench: this line of setup failed: ls '/no such folder'"
    log = tmp_path / "log"
    shell(setup_lines(config, f">> {log}"), how, "echo python starts")
    assert log.read_text() == "capbench: this line of setup failed: ls '/no such folder'\n"
