"""Terminal of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

console = Console()
errors = Console(stderr=True)


def say(line: str) -> None:
    """Prints a line as it is, above a progress bar if there is one."""
    console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say_error(line: str) -> None:
    """Prints a line to the standard error, as it is."""
    errors.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say_written(paths: Iterable[Path]) -> None:
    """Prints which files were written."""
    print("written:", ", ".join(map(str, paths)))
