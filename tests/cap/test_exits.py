from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cap
from cap.exits import exits_raised


def test_an_end_is_raised_in_this_thread() -> None:
    before = os._exit
    with pytest.raises(SystemExit) as ended, exits_raised():
        os._exit(5)
    assert ended.value.code == 5
    assert os._exit is before


def test_a_forked_process_ends() -> None:
    with exits_raised():
        child = os.fork()
        if child == 0:
            os._exit(6)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6


def test_another_thread_ends_the_process() -> None:
    """A watchdog's thread: nobody waits for its exception."""
    code = (
        "import os, threading, time\nfrom cap.exits import exits_raised\n"
        "with exits_raised():\n    threading.Thread(target=os._exit, args=(7,)).start()\n    time.sleep(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 7


CONSTRUCTOR = "class Mine(cap.ScorePruner):\n    __init__ = lambda self: os._exit(8)\n    scores = None\n"


@pytest.mark.parametrize("place", ["os._exit(8)\n", CONSTRUCTOR])
def test_a_file_and_a_constructor_that_end_the_process(tmp_path: Path, place: str) -> None:
    (tmp_path / "mine.py").write_text(f"import os, cap\n{place}")
    with pytest.raises(SystemExit):
        cap.create(f"{tmp_path}/mine.py:Mine")
