"""Exception that stands for a user's mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Mistake of the user, which the command line prints as one line; it then exits with code 2."""


def first_mistake(error: ValidationError) -> str:
    """Returns the first of the mistakes in a specification, in one line."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
