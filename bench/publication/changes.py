"""What a publication changes, in words."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """Number that is published, with what it is of.

    Attributes:
        label: What it is of, in words.
        number: The number; None where there is none.
    """

    label: str
    number: float | None


Values = Mapping[Hashable, Value]


def describe_changes(old: Values, new: Values, quantity: str, relative: bool = False) -> list[str]:
    """Returns what changes from what is published, line by line.

    Args:
        old: What is published, {identity: value}.
        new: What is to be published.
        quantity: Name of the numbers.
        relative: Whether a change is a ratio, not a difference.
    """
    if not old:
        return [f"nothing is published yet: {len(new)} rows are added"]
    changes = [
        (_size(old[key].number, value.number, relative), value.label, old[key].number, value.number)
        for key, value in new.items()
        if key in old and old[key].number != value.number
    ]
    added, removed = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    same = len(new) - added - len(changes)
    lines = [f"rows: {added} added, {removed} removed, {len(changes)} with another {quantity}, {same} with the same"]
    if changes:
        _, label, before, after = max(changes, key=lambda change: change[0])
        lines.append(f"largest change of {quantity}: {_written(before)} to {_written(after)}, {label}")
    return lines


def _size(old: float | None, new: float | None, relative: bool) -> float:
    """Returns how large a change is; one from or to nothing is the largest."""
    if old is None or new is None:
        return math.inf
    return abs(math.log(new / old)) if relative else abs(new - old)


def _written(number: float | None) -> str:
    return "none" if number is None else f"{number:.4g}"
