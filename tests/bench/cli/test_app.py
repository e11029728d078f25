"""Errors and start-up of the command line."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    assert capsys.readouterr().out.strip() == importlib.metadata.version("cap-bench")


def test_the_installed_command_exits_with_2() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "run", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_is_told_whenever_it_comes(tmp_path: Path, number: signal.Signals) -> None:
    """Here while the command checks what it is to run; a second SIGTERM, such as `timeout` sends, changes nothing."""
    (tmp_path / "signals.py").write_text(
        "import os, sys, time; from bench.cli import main; from bench.execution import preflight\n"
        "def interrupted(*_):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {number.value})\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        f"        os.kill(os.getpid(), {number.value}) if {number is signal.SIGTERM} else None\n"
        "        time.sleep(0.1)\n"
        "preflight.check_models = interrupted\n"
        "main(['run', 'table1', '--results', sys.argv[1]])\n"
    )
    command = [sys.executable, str(tmp_path / "signals.py"), str(tmp_path / "results")]
    done = subprocess.run(
        command, capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's tests ignore it
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "capbench: interrupted; run again to go on\n"


def test_start_up_and_reports_load_no_torch(finished: tuple[str, str]) -> None:
    """What only reads results, or fails at once, must not wait for torch."""
    code = (
        "import sys; from bench.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try:\n"
        "        main(command.split())\n"
        "    except SystemExit as stopped:\n"
        "        print('exit', stopped.code)\n"
        "assert 'torch' not in sys.modules"
    )
    results = f"--results {finished[1]}"
    commands = ["--help", "run --help", "run tabel1 --nothing", f"table tiny {results}", f"plot tiny {results}",
                "table tabel1", "list cats"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("exit 2") == 3
    assert "C1" in done.stdout
