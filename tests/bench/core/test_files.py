from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from bench.core import files
from bench.core.errors import UserError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    with files.atomic_write(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"

    def write_half() -> None:
        with files.atomic_write(path) as temporary:
            temporary.write_text("tw")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_half()
    assert path.read_text() == "one"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_what_an_ended_process_had_half_written_is_discarded(tmp_path: Path) -> None:
    with files.atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("one")
        files.discard_unfinished(tmp_path, os.getpid() + 1)
        assert temporary.exists()
        files.discard_unfinished(tmp_path, os.getpid())
        assert not temporary.exists()
        temporary.write_text("two")


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    assert not files.is_locked(path)
    with files.lock(path):
        assert files.is_locked(path)
        with pytest.raises(BlockingIOError, match="is locked by another process"), files.lock(path, wait=False):
            pass
    assert not files.is_locked(path)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_nothing_is_held_and_nothing_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "a.lock"
    with files.lock(path), files.lock(path, wait=False):
        assert not files.is_locked(path)
    assert not files.is_locked(path)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write results to"):
        files.check_writable(tmp_path / "file")
