"""Files that several processes read and write: replaced as a whole, and locked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from bench.core.errors import UserError


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as a hexadecimal string."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside a file to write to, and renames it: no reader ever sees half of the file.

    Args:
        path: File to write; its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_process(os.getpid())}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def discard_unfinished(folder: Path, pid: int) -> None:
    """Removes what a process of this machine that was ended had half written with `atomic_write`."""
    for temporary in folder.glob(f".*.{_process(pid)}"):
        temporary.unlink(missing_ok=True)


def _process(pid: int) -> str:
    """Returns what tells a process of this machine from all others that write to the same folder."""
    return f"{platform.node()}.{pid}"


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds a lock on a file; a process that ends, however it does, lets go of it.

    On a file system without locks nothing is held and nothing is waited for.

    Args:
        path: Lock's own file; its folder is made if need be.
        wait: Whether to wait for another process that holds it.

    Raises:
        BlockingIOError: If another process holds it and is not waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path, blocking=wait, fallback_to_soft=False)  # a soft one would outlive a job that is killed
    try:
        held.acquire()
    except Timeout:
        raise BlockingIOError(f"{path} is locked by another process") from None
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        held.release()


def is_locked(path: Path) -> bool:
    """Returns whether a process holds a lock; one on another machine is seen if the file system tells."""
    if not path.exists():
        return False
    try:
        with lock(path, wait=False):
            return False
    except BlockingIOError:
        return True


def check_writable(folder: Path) -> None:
    """Makes sure that files can be written to a folder, before any work is done.

    Raises:
        UserError: If it cannot be made or written to.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"cannot write results to {folder}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
