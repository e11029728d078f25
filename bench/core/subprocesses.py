"""Work in a process of its own, for what changes a process or is measured by it."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_in_subprocess(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a fresh process.

    Raises:
        RuntimeError: If it raised, or its process died.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        error, result = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        error, result = f"its process ended with exit code {process.exitcode}", None
    finally:
        process.kill()
    if error is not None:
        raise RuntimeError(error)
    return result


def _send(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    message: tuple[str | None, Any]
    try:
        message = (None, function(*arguments))
    except Exception as error:  # noqa: BLE001  it is raised anew in the process that waits
        message = (f"{type(error).__name__}: {error}", None)
    sender.send(message)
