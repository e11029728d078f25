from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main


def printed(capsys: pytest.CaptureFixture[str], results: Path, *options: str) -> list[str]:
    main(["status", "table1", "--only", "model=vit", "--only", "model=dino", "--results", str(results), *options])
    return capsys.readouterr().out.splitlines()


def test_a_summary_has_a_line_for_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, tmp_path, "--summary") == ["vit   9 to run", "dino  9 to run", "18 to run"]


def test_trials_of_one_state_are_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, tmp_path, "--state", "failed") == ["18 to run"]
    assert len(printed(capsys, tmp_path, "--state", "to run")) == 19
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
