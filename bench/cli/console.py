"""Terminal of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from rich.console import Console

import bench

console = Console()
errors = Console(stderr=True)


def say(line: str) -> None:
    """Prints a line as it is, above a progress bar if there is one."""
    console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say_error(line: str) -> None:
    """Prints a line to the standard error, as it is."""
    errors.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def document_alone(wanted: bool) -> Iterator[None]:
    """Sends what is printed within, by other processes too, to the standard error, so that a document can stand alone.

    Args:
        wanted: Whether to do so.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def say_written(paths: Iterable[Path]) -> None:
    """Prints which files were written, those that differ in their suffix alone in a line."""
    suffixes: dict[Path, list[str]] = {}
    for path in paths:
        suffixes.setdefault(path.with_suffix(""), []).append(path.suffix)
    for stem, found in suffixes.items():
        short = ",".join(suffix.removeprefix(".") for suffix in found)
        print(f"written: {stem}{found[0]}" if len(found) == 1 else f"written: {stem}.{{{short}}}")


def document_writer(place: str | None) -> Callable[[str], object] | None:
    """Returns what writes a document to a file or the standard output; None where none is wanted.

    Raises:
        UserError: If it cannot be written there.
    """
    if place is None or place == "-":
        return print if place else None
    path = Path(place)
    if place.startswith("-") or path.is_dir() or not path.parent.is_dir():
        raise bench.UserError(f"--json {place} cannot be written: give a file in a folder that exists, or -")
    return path.write_text
