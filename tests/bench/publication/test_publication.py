"""A set of files is replaced together or not at all."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.publication.publication import Publication
from bench.reports.common.text import insert_text


def publication(repository: Any, *names: str, error: OSError | None = None) -> Publication:
    """Returns the publication of some small files."""

    def render(results: Path, into: Path | None) -> None:
        for name in names:
            (results / "embedded" / name).write_text("new")
        if error is not None:
            raise error
        if into is not None:
            insert_text(into, "table1", "the table\n")

    return Publication(repository.root, "embedded", re.compile(r"x(_nm)?\.(md|png|csv)"), (), render)


@pytest.fixture
def published(repository: Any) -> Any:
    folder = repository.root / "results/embedded"
    folder.mkdir()
    for name in ("x.md", "x.png", "x_nm.png", "x_of_another.md"):
        (folder / name).write_text("old")
    return repository


def test_a_set_is_replaced_and_what_is_obsolete_goes(published: Any) -> None:
    before = published.files()
    written = publication(published, "x.md", "x.csv", "x.png").write(published.root / "README.md")
    assert {path.name for path in written} == {"x.md", "x.csv", "x.png", "x_nm.png", "README.md"}
    after = published.files()
    assert before.keys() - after.keys() == {"results/embedded/x_nm.png"}
    changed = {name for name, content in after.items() if content != before.get(name)}
    assert changed == {f"results/embedded/x.{end}" for end in ("md", "csv", "png")} | {"README.md"}
    assert b"the table" in after["README.md"]


@pytest.mark.parametrize("when", ["staging", "renaming"])
def test_nothing_is_half_published(published: Any, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The disk is full while files are made, or a file cannot be replaced after another was."""
    full = OSError(errno.ENOSPC, "No space left on device")
    found = publication(published, "x.csv", "x.md", error=full if when == "staging" else None)
    before, replace = published.files(), os.replace

    def fails(source: Path, target: Path) -> None:
        if (source.name, target.name) == ("x.md", "x.md"):
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(UserError, match=r"cannot publish to .*/results/embedded: (No sp|Perm).*; nothing has changed"):
        found.write()
    assert published.files() == before


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("docs/file.py", "has no place for the table"),
        ("no.md", "does not exist"),
        ("../outside.md", "is not in the checkout"),
    ],
)
def test_a_document_without_a_place(published: Any, document: str, message: str) -> None:
    (published.root.parent / "outside.md").touch()
    before = published.files()
    with pytest.raises(UserError, match=message):
        publication(published, "x.md").write(published.root / document)
    assert published.files() == before
