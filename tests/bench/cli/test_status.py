from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.cli import main
from bench.specs.discovery import load_sweep

EACH = Counter(trial.model for trial in load_sweep("table1").trials("embedded"))


def printed(capsys: pytest.CaptureFixture[str], results: Path, *options: str) -> list[str]:
    main(["status", "table1", "--only", "model=vit", "--only", "model=convnext", "--results", str(results), *options])
    return capsys.readouterr().out.splitlines()


def test_a_summary_has_a_line_for_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    each = EACH["vit"]
    assert printed(capsys, tmp_path, "--summary") == [
        f"vit       {each} to run", f"convnext  {each} to run", f"{2 * each} to run",
    ]  # fmt: skip


def test_trials_of_one_state_are_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = EACH["vit"] + EACH["convnext"]
    assert printed(capsys, tmp_path, "--state", "failed") == [f"{both} to run"]
    assert len(printed(capsys, tmp_path, "--state", "to run")) == both + 1
    with pytest.raises(SystemExit):
        printed(capsys, tmp_path, "--state", "lost")
    assert "--state lost is not valid: choose from done" in capsys.readouterr().err


def test_the_places_in_the_settings_hold_for_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPBENCH_WORKERS", "x")  # so that it is restored
    monkeypatch.delenv("CAPBENCH_WORKERS")
    Path("cluster.toml").write_text('[env]\nCAPBENCH_WORKERS = "3"\n')
    main(["list", "sweeps"])
    from bench.data.imagenet.decoding import num_workers

    assert num_workers() == 3
    Path("cluster.toml").write_text("env = 3\n")
    with pytest.raises(SystemExit):
        main(["list", "sweeps"])
    assert "cluster.toml: env" in capsys.readouterr().err
