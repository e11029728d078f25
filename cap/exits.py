"""Ends of the process that code of others asks for, as exceptions."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import NoReturn
from unittest import mock


@contextlib.contextmanager
def exits_raised() -> Iterator[None]:
    """Lets `os._exit` raise SystemExit in this thread, as `sys.exit` does: else all would end without a word."""
    end, here = os._exit, (os.getpid(), threading.get_ident())

    def raise_here(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == here:  # a forked process, say a data loader's, must end
            raise SystemExit(status)
        end(status)

    with mock.patch.object(os, "_exit", raise_here):
        yield
