"""Functions called in a process of their own, because they change the process or measure it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_in_subprocess(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a fresh process, which ends before this returns, or with the process that waits for it.

    Args:
        function: Importable function.
        arguments: Arguments of the function, to be pickled like its result.

    Raises:
        RuntimeError: If it raised, or its process died.
    """
    process: BaseProcess | None = None
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        pid = executor.submit(os.getpid).result()
        process = next(child for child in active_children() if child.pid == pid)
        return executor.submit(_call, function, arguments).result()
    except BrokenProcessPool:
        executor.shutdown()  # waits for the process's exit code
        code = "" if process is None else f" with exit code {process.exitcode}"
        raise RuntimeError(f"its process ended{code}") from None
    finally:
        if process is not None:
            process.kill()
        executor.shutdown()


def _call(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001  not every exception can be pickled: its text can
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _end_with_parent() -> None:
    """Makes this process end as soon as its parent does, however that ends."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
