"""Durations in words, and how long work will still take."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """Returns a time in words: hours and minutes, or minutes and seconds."""
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {int(seconds % 60):02d} s"


class TimeLeft:
    """Time that some work will still take, at the rate since this was made.

    Args:
        done: Number of its pieces that are done by now.
    """

    def __init__(self, done: int = 0) -> None:
        self._start, self._first = time.monotonic(), done

    def text(self, done: int, total: int) -> str:
        """Returns it as the end of a line; nothing before a piece is done, and when all are.

        Args:
            done: Number of pieces that are done by now.
            total: Number of all pieces.
        """
        pieces = done - self._first
        if pieces <= 0 or done >= total:
            return ""
        return f", about {duration((time.monotonic() - self._start) / pieces * (total - done))} left"
