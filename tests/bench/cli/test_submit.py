"""`capbench submit` and `verify`: the library's tests have what they write and check."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench
from bench import cli


def test_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "submission.json").touch()
    calls: list[tuple[Any, ...]] = []

    def submit(*arguments: Any) -> Any:
        calls.append(arguments)
        return SimpleNamespace(folder=tmp_path)

    monkeypatch.setattr(bench, "submit_comparison", submit, raising=False)
    cli.main(["submit", "Mine-1", "--method", "mine", "--configurations", "12", "--chosen-on", "validation"])
    place = Path("runs"), Path("submissions")
    assert calls == [("Mine-1", "mine", "", "", 12, "validation", "embedded", *place)]
    out = capsys.readouterr().out
    assert f"written: {tmp_path}/submission.json" in out
    assert f"capbench verify {tmp_path}" in out


@pytest.mark.parametrize("failure", [None, "obd.py is not what was submitted"])
def test_verify(failure: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(failure=failure, line=lambda: f"files: {failure}")
    monkeypatch.setattr(bench, "verify_submission", lambda *_: iter([point]), raising=False)
    if failure is None:
        cli.main(["verify", "submissions/x", "--draw", "7"])
        assert capsys.readouterr().out.splitlines() == ["files: None", "submissions/x is verified (--draw 7)"]
        return
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", "submissions/x"])
    assert stopped.value.code == 1
    assert "is verified" not in capsys.readouterr().out
