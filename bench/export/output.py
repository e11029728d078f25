"""Folder of an export: checked before any work, and written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError

from bench.core.errors import UserError


def check_output(folder: Path, names: Sequence[str], needed: int) -> None:
    """Makes sure, before any work, that files can be written to a folder, which need not be there yet.

    Args:
        folder: The folder.
        names: Names of the files.
        needed: Bytes that they take at most.

    Raises:
        UserError: If something is in the way, the place is not writable, or too little of it is free.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file: --output {folder} must be a folder, or not be there yet")
    if taken := [name for name in names if (folder / name).is_dir()]:
        raise UserError(f"{folder / taken[0]} is a folder, but a file of that name is to be written")
    try:
        with tempfile.TemporaryDirectory(prefix=".export.", dir=existing) as probe:
            Path(probe, "probe").write_bytes(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    if (free := shutil.disk_usage(existing).free) < needed:
        raise UserError(f"{folder} has {free / 2**20:,.0f} MiB free, but up to {needed / 2**20:,.0f} MiB are written")


@contextlib.contextmanager
def whole_output(folder: Path) -> Iterator[Path]:
    """Yields a folder to write to, whose files go to their places at the end; if anything fails nothing is left of it.

    Args:
        folder: Place of the files; it is made if need be, and files of the same names are replaced.

    Raises:
        UserError: If a file cannot be written.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f".export.{os.getpid()}"
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in staging.iterdir():
            os.replace(path, folder / path.name)
        new.clear()
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write to {folder}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
