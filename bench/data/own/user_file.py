"""Variables and functions of a user's file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.data.own.image import first_line
from cap.registry import import_file


def call_in_file(file: Path, name: str) -> Any:
    """Returns what a function of a user's file returns, called without arguments.

    Raises:
        UserError: If there is no such file or function, it needs an argument, or it raises anything.
    """
    found = find_in_file(file, name)
    if not callable(found):
        raise UserError(f"{file}:{name} is no function but a {type(found).__name__}")
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError) as error:
        raise UserError(f"{file}:{name} must be callable without arguments: {error}") from None
    try:
        return found()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        raise UserError(f"{file}:{name}: {first_line(error)}") from None


def find_in_file(file: Path, name: str) -> Any:
    """Returns a variable of a user's file.

    Raises:
        UserError: If there is none, or the file raises anything.
    """
    if not file.is_file():
        raise UserError(f"{file} does not exist")
    try:
        module = import_file(file)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything
        raise UserError(f"{file}: {first_line(error)}") from None
    if not hasattr(module, name):
        own = ", ".join(
            key for key, value in vars(module).items() if not key.startswith("_") and not inspect.ismodule(value)
        )
        raise UserError(f"{file} has no {name}; it has {own or 'nothing'}")
    return getattr(module, name)
