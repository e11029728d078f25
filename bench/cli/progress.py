"""Progress bar of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.cli.console import console


@dataclass(frozen=True)
class Bar:
    """A progress bar; nothing where the output is no terminal."""

    progress: Progress
    task: TaskID

    def describe(self, text: str) -> None:
        """Shows what is being done."""
        self.progress.update(self.task, description=escape(text))

    def advance(self) -> None:
        """Counts one more that is done."""
        self.progress.update(self.task, advance=1)


@contextmanager
def progress_bar(total: int, description: str = "") -> Iterator[Bar]:
    """Shows a progress bar while the context lasts.

    Args:
        total: Number of things to do.
        description: Text before the bar.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(description, total=total))
