"""docs/add_a_pruner.md does what it says: its files are written, its commands run, and their output compared."""

from __future__ import annotations

import configparser
import doctest
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cli

PAGE = Path(__file__).parents[1] / "docs/add_a_pruner.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
TOLERANCE = 0.5  # points of top-1, between processors


def steps() -> Iterator[tuple[list[str], str | None]]:
    """The page's commands, each as words, with the output that the page shows after it."""
    for (kind, text), (next_kind, next_text) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if kind == "sh":
            *silent, last = text.splitlines()
            yield from ((line.split(), None) for line in silent)
            yield last.split(), next_text if next_kind == "text" else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, its package registered as if it had been installed."""
    folder = tmp_path_factory.mktemp("page")
    for kind, text in BLOCKS:
        if kind == "python":
            [name] = re.findall(r"\A# (\w+\.py)\n", text)
            assert not (folder / name).exists()
            (folder / name).write_text(text)
        elif kind == "toml":
            parser = configparser.ConfigParser()
            parser.read_string(text)
            [section] = parser.sections()
            [group] = re.findall(r'project\.entry-points\."(.+)"', section)
            points = [f"{name} = {value.strip(chr(34))}" for name, value in parser[section].items()]
            (folder / "page-1.dist-info").mkdir()
            (folder / "page-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: page\nVersion: 1\n")
            (folder / "page-1.dist-info/entry_points.txt").write_text("\n".join([f"[{group}]", *points]))
    return folder


def same(shown: str, printed: str) -> bool:
    """Compares output with what the page shows of it: `...` stands for anything, numbers may differ a little."""
    if "..." in shown:
        return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)
    words, others = shown.split(), printed.split()
    return len(words) == len(others) and all(
        abs(float(a) - float(b)) <= TOLERANCE if re.fullmatch(r"\d+\.\d+", a) else a == b
        for a, b in zip(words, others, strict=True)
    )


@pytest.mark.parametrize(
    ("words", "shown"), steps(), ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_command_of_the_page(
    folder: Path,
    words: list[str],
    shown: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program, *arguments = words
    assert program in ("capbench", "python")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    if program == "python":
        [script] = arguments
        runpy.run_path(script, run_name="__main__")
    else:
        cli.main(arguments)
    printed = capsys.readouterr().out
    if shown is not None:
        assert same(shown, printed), printed
    if arguments[0] == "check":
        skipped = re.findall(r"^skipped  ([a-z ]+)", printed, flags=re.MULTILINE)
        assert ", 0 failed, " in printed.splitlines()[-1]
        assert set(map(str.strip, skipped)) <= {"scores", "monotone masks", "state"}  # those of no `cap.ScorePruner`
        assert not skipped or "skipped  scores (a cap.Pruner" in printed
    if arguments[0] == "compare":
        assert "OBD" in printed
        assert list(folder.glob("runs/**/*.png"))


def test_output_that_differs_is_told() -> None:
    assert same("a 84.51\n", "a 84.1\n")
    assert not same("a 84.51\n", "a 83.1\n")
    assert not same("a 84.51\n", "b 84.51\n")
    assert not same("a 84.51\n", "a 84.51\nb\n")
    assert same("...\nb 3\n...\n", "a\nb 3\nc\n")
    assert not same("...\nb 3\n...\n", "a\nb 4\nc\n")
    assert len(list(steps())) > 5
