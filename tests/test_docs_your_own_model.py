"""docs/your_own_model.md does what it says: its files are written, its commands run, and their output compared."""

from __future__ import annotations

import doctest
import re
import runpy
import shlex
from pathlib import Path

import pytest

from bench import cli

PAGE = Path(__file__).parents[1] / "docs/your_own_model.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    for kind, text in BLOCKS:
        if kind == "python":
            [name] = re.findall(r"\A# (\w+\.py)\n", text)
            (tmp_path / name).write_text(text)
        elif kind == "sh":
            for line in text.splitlines():
                program, *words = shlex.split(line)
                capsys.readouterr()
                if program == "python":
                    runpy.run_path(*words, run_name="__main__")
                else:
                    assert program == "capbench"
                    cli.main(words)
        else:
            assert kind == "text"
            printed = capsys.readouterr().out
            assert doctest.OutputChecker().check_output(text, printed, doctest.ELLIPSIS), printed
