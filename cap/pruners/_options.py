"""Checks of options that several pruners have."""

from __future__ import annotations


def check_count(name: str, value: object, optional: bool = False) -> None:
    """Refuses what is no whole number of at least 1, or None where that is allowed.

    Raises:
        ValueError: If it is none.
    """
    if not ((isinstance(value, int) and not isinstance(value, bool) and value >= 1) or (optional and value is None)):
        raise ValueError(f"{name}={value!r} is not valid: it is a whole number of at least 1")


def check_positive(name: str, value: object) -> None:
    """Refuses what is no finite number larger than 0.

    Raises:
        ValueError: If it is none.
    """
    if not (isinstance(value, int | float) and 0 < value < float("inf")):
        raise ValueError(f"{name}={value!r} is not valid: it is a number larger than 0")


def check_flag(name: str, value: object) -> None:
    """Refuses what is neither True nor False.

    Raises:
        ValueError: If it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} is not valid: it is true or false")
