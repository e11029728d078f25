"""`capbench publish`: the library's tests have what it refuses and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench import cli


class Recorded:
    """A publication that notes what is written."""

    changes = ("table1: 360 rows", "rows: 0 added")

    def __init__(self) -> None:
        self.documents: list[Path | None] = []

    def write(self, into: Path | None) -> list[Path]:
        self.documents.append(into)
        return [Path("results/embedded/table1.parquet")]


def test_it_says_what_changes_and_then_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Recorded()
    monkeypatch.setattr(bench, "prepare_publication", lambda *_: found, raising=False)
    cli.main(["publish", "table1", "--dry-run"])
    assert capsys.readouterr().out.splitlines() == list(found.changes)
    assert not found.documents
    cli.main(["publish", "table1", "--into", "README.md"])
    written = "written: results/embedded/table1.parquet"
    assert capsys.readouterr().out.splitlines() == [*found.changes, written]
    assert found.documents == [Path("README.md")]
