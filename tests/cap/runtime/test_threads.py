from __future__ import annotations

import ctypes
from pathlib import Path
from threading import get_ident

import pytest
import torch

from cap.runtime import threads
from cap.runtime.threads import run_on_threads


@pytest.mark.parametrize("own", [True, False])
def test_each_thread_calls_the_function_once(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if own and threads.openmp() is None:
        pytest.skip("torch brings no GNU OpenMP along here")
    if not own:
        monkeypatch.setattr(threads, "openmp", lambda: None)
    calls = []
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda argument: calls.append((argument, get_ident())))
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    run_on_threads(address, 42, 1)
    assert calls == [(42, get_ident())]
    calls.clear()
    run_on_threads(address, 43, 3)
    assert [argument for argument, _ in calls] == [43] * 3


def test_the_threads_are_torchs() -> None:
    if not list((Path(torch.__file__).parent / "lib").glob("libgomp*")):
        pytest.skip("torch brings no GNU OpenMP along here")
    assert threads.openmp() is not None
