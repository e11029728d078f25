"""Processes that work on one trial together."""

from __future__ import annotations


def join(device: str) -> None:
    """Joins the other processes of this job."""


def leave() -> None:
    """Leaves them."""


def is_main() -> bool:
    """Returns whether this process is the one that writes."""
    return True
