"""Application: all commands, their errors and signals."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import threading

from cyclopts import App, CycloptsError

import bench
from bench.cli.check import check
from bench.cli.compare import compare
from bench.cli.console import say_error
from bench.cli.diagnose import diagnose
from bench.cli.doctor import doctor
from bench.cli.export import export
from bench.cli.latency import latency, speedup
from bench.cli.list import list_
from bench.cli.plan import plan
from bench.cli.publish import publish
from bench.cli.report import benchmarks, plot, report, table
from bench.cli.run import run
from bench.cli.show import rerun, show
from bench.cli.status import cancel, collect, status
from bench.cli.submit import submit, verify
from bench.cli.tune import tune

COMMANDS = (
    run, plan, doctor, diagnose, tune, compare, status, cancel, collect, table, plot, report, benchmarks, latency,
    speedup, publish, check, export, list_, show, rerun, submit, verify,
)  # fmt: skip

app = App(
    name="capbench",
    help="Reproducible benchmark of pruners for vision models.",
    version=lambda: importlib.metadata.version("cap-bench"),
    suppress_keyboard_interrupt=False,  # `main` says a line
)
for command in COMMANDS:
    app.command(command, name=command.__name__.rstrip("_"))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; a user's mistake gives one line and exit code 2."""
    # threads that spin while they wait take the cores from one another where other work runs beside
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # so that worker processes are ended too
    try:
        bench.apply_places()
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (bench.UserError, CycloptsError) as error:
        say_error(f"capbench: {' '.join(str(error).split())}")
        sys.exit(2)
    except KeyboardInterrupt:
        say_error("capbench: interrupted; run again to go on")
        sys.exit(130)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # `timeout` sends it twice, and the second one would cut the way out short
    raise KeyboardInterrupt
