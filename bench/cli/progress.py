"""Progress bars of the command line: one of all things to do, one of each that is being done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from bench.cli.console import console

BAR = 12  # characters of a bar: the text has what is left of the line


@dataclass(frozen=True)
class Bar:
    """A progress bar; nothing where the output is no terminal.

    Attributes:
        progress: Lines that are shown.
        task: Line of the whole.
        inner: Lines of what is being done, by name.
    """

    progress: Progress
    task: TaskID
    inner: dict[str, TaskID] = field(default_factory=dict)

    def describe(self, text: str) -> None:
        """Shows what is being done."""
        self.progress.update(self.task, description=escape(text))

    def inside(self, name: str, done: int, total: int, text: str, left: float | None = None) -> None:
        """Shows how far one of the things is, on a line of its own.

        Args:
            name: Name of the thing.
            done: Number of its steps that are done.
            total: Number of all its steps; another number than before begins a new estimate of what is left.
            text: Name of the steps.
            left: Time that these steps will still take, seconds; by default estimated from the last ones.
        """
        description = escape(f"  {name}{f', {text}' if text else ''}")
        if name not in self.inner:
            self.inner[name] = self.progress.add_task(description, total=total)
        task = self.progress.tasks[self.progress.task_ids.index(self.inner[name])]
        if task.total != total or task.completed > done:
            self.progress.reset(self.inner[name], total=total)
        self.progress.update(self.inner[name], completed=done, description=description, left=left)

    def advance(self, name: str | None = None) -> None:
        """Counts one more that is done; its own line, where it has one by this name, goes."""
        if name in self.inner:
            self.progress.remove_task(self.inner.pop(name))
        self.progress.update(self.task, advance=1)


class LeftColumn(TimeRemainingColumn):
    """Time that is left: as it was told, else estimated from the last steps."""

    def render(self, task: Task) -> Text:
        """Returns it for a line."""
        left = task.fields.get("left")
        if left is None:
            return super().render(task)
        return Text(str(timedelta(seconds=round(left))), style="progress.remaining")


@contextmanager
def progress_bar(total: int, description: str = "") -> Iterator[Bar]:
    """Shows a progress bar while the context lasts, in one line of the terminal and one for each thing inside.

    Args:
        total: Number of things to do.
        description: Text before the bar.
    """
    text = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    columns = text, BarColumn(BAR), MofNCompleteColumn(), TimeElapsedColumn(), LeftColumn()
    with Progress(*columns, console=console, expand=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(description, total=total))
