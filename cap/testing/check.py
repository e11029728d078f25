"""A single check of the contract, and how it is run."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cap.exits import exits_raised
from cap.registry import source_file
from cap.testing.inspection import NotApplicable, Violation
from cap.testing.subject import Subject

Run = Callable[[Subject], str | None]


@dataclass(frozen=True)
class Check:
    """One requirement of the contract.

    Attributes:
        name: Name, a few words.
        explanation: Requirement, its reason, its usual causes of failure and their cure.
        run: Function that raises `Violation` or `NotApplicable`, and may return a remark.
        gate: Whether the checks after it mean nothing if it fails.
    """

    name: str
    explanation: str
    run: Run
    gate: bool = False


@dataclass(frozen=True)
class Outcome:
    """Outcome of one check.

    Attributes:
        check: Check that was run.
        status: Status of the check.
        message: Finding, reason for skipping, or remark.
    """

    check: Check
    status: Literal["passed", "failed", "skipped"]
    message: str = ""


def check(name: str, gate: bool = False) -> Callable[[Run], Check]:
    """Turns a function into a check; its docstring is the explanation."""
    return lambda run: Check(name, inspect.getdoc(run) or "", run, gate)


def run_check(one: Check, subject: Subject) -> Outcome:
    """Runs one check; an error that the pruner raises is a failure, and so is an end of the process."""
    try:
        with exits_raised():
            remark = one.run(subject)
    except Violation as found:
        return Outcome(one, "failed", str(found))
    except NotApplicable as reason:
        return Outcome(one, "skipped", str(reason))
    except (Exception, SystemExit) as error:  # noqa: BLE001  the pruner's code is not ours
        return Outcome(one, "failed", _describe(error, subject))
    return Outcome(one, "passed", remark or "")


def _describe(error: BaseException, subject: Subject) -> str:
    """Returns the line of a traceback that tells the error, with the last place in the pruner's own file."""
    last_line = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()[0]
    frames = traceback.extract_tb(error.__traceback__)
    file = source_file(subject.name)
    own = [frame for frame in frames if file and Path(frame.filename).resolve() == file.resolve()] or frames
    return f"{last_line} ({_short(own[-1].filename)}:{own[-1].lineno})"


def _short(path: str) -> str:
    """Returns a path as seen from the working folder."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
