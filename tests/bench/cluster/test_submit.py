"""Jobs of this machine; tests/slurm has those of a real SLURM."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import cli

ONE = ("table1", "--only", "model=convnext", "--only", "pruner=magnitude", "--seeds", "0")


def test_a_local_job_is_submitted_once_and_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(command: str, *arguments: str) -> str:
        cli.main([command, *arguments, "--results", str(tmp_path)])
        return capsys.readouterr().out

    run = ("run", *ONE, "--cluster", "local", "--allow-dirty")
    assert "submitted 1 jobs: " in called(*run)
    try:
        assert "1 in jobs already, 0 to run" in called(*run)
        assert called("status", *ONE).split()[1] in ("pending", "running")
    finally:
        assert "cancelled 1 jobs" in called("cancel", "table1")
    end = time.monotonic() + 30
    while called("status", *ONE).split()[1] != "cancelled":
        assert time.monotonic() < end
        time.sleep(0.2)
    assert "1 trials, 0 done, 1 to run" in called(*run, "--dry-run")
