"""Errors and start-up of the command line."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cli


def test_mistakes_give_one_line(fails: Callable[..., str], tmp_path: Path) -> None:
    for arguments, message in [
        (["run", "tabel1"], "unknown sweep 'tabel1': choose from ablation, fastcap"),
        (["run", "table1", "--only", "model=resnet"], "choose from convnext, dino, vit, xcit"),
        (["run", "table1", "--only", "pruner=obs"], "choose from cap, magnitude, woodfisher"),
        (["run", "table1", "--only", "vit"], "write key=value"),
        (["run", "table1", "--seeds", "0", "9"], "no seed 9: choose from 0, 1, 2"),
        (["run", "table1", "--only"], "--only requires at least 1 element"),
        (["run", "table1", "--only", ""], "cannot filter by '': write key=value"),
        (["run", "table1", "--only="], "cannot filter by '': write key=value"),
        (["run", "table1", "--only", "model="], "cannot filter by 'model=': write key=value"),
        (["plan", "table1", "--seeds"], "--seeds requires at least 1 element"),
        (["compare", "--pruner", "mfac", "--model"], "--model requires at least 1 element"),
        (["compare", "--pruner", "mfac", "--seeds", f"{10**23}"], "seed: Input should be less than or equal to 92233"),
        (["run", "table1", "--seeds", "x"], "--seeds"),
        (["run", "table1", "--seeds", "0", "0"], "--seeds has 0 twice"),
        (["run", "table1", "--profile", "laptop"], "no profile 'laptop'"),
        (["run", "table1", "--jobs", "0"], "--jobs 0"),
        (["run", "table1", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["run", "table1", "--only", "model=vit", "--only", "family=dino"], "no trial matches model=vit family=dino"),
        (["run", "table1", "--colour"], "--colour"),
        (["table", "table1", "--results", str(tmp_path)], "does not exist: run the sweep first"),
        (["table", "tabel1", "--results", str(tmp_path)], "unknown sweep 'tabel1'"),
        (["plot", "tabel1", "--results", str(tmp_path)], "choose from ablation"),
        (["compare"], "--pruner"),
        (["compare", "--pruner", "cap", "--option", "damp"], "cannot read option 'damp': write key=value"),
        (["compare", "--pruner", "cap", "--option", "damp=1", "damp=2"], "option damp is given twice"),
        (["compare", "--pruner", "wanda"], "supports no pattern of --sparsity"),
        (["compare", "--pruner", "mfac", "--seeds", "0", "0"], "--seeds has 0 twice"),
        (["compare", "--pruner", "mfac", "--jobs", "0"], "--jobs 0"),
        (["compare", "--pruner", "mfac", "--dry-run", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["list", "cats"], "pruners"),
    ]:
        assert message in fails(*arguments)


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
        "def interrupted(trials):\n"
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
