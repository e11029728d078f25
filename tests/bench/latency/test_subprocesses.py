from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest

from bench.latency.subprocesses import run_in_subprocess

# a script with a function that notes its process and then takes long; a function of the same file is importable there
SCRIPT = """
import os, sys, time
from pathlib import Path
from bench.latency.subprocesses import run_in_subprocess

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    run_in_subprocess(work, sys.argv[1])
"""


def test_a_result_is_returned_and_the_process_is_gone() -> None:
    assert run_in_subprocess(divmod, 7, 2) == (3, 1)
    assert run_in_subprocess(os.getpid) != os.getpid()
    assert not active_children()


def test_a_process_that_dies_or_raises_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"^its process ended with exit code 3$"):
        run_in_subprocess(os._exit, 3)
    with pytest.raises(RuntimeError, match=r"^FileNotFoundError: .*nowhere"):
        run_in_subprocess(os.listdir, "nowhere")
    assert not active_children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_process_does_not_outlive_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    script, note = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, script, note], stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's tests ignore it
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not (note.exists() and note.read_text()):
            assert time.monotonic() < end, "the function was not called"
            time.sleep(0.02)
        child = psutil.Process(int(note.read_text()))
        parent.send_signal(number)
        assert parent.wait(30) != 0
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    finally:
        parent.kill()
